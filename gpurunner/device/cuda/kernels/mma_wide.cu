// Products on tensor cores in blocks of 128×256, for Hopper. What feeds a block of
// 128×128 is 24 KB for every 2²⁰ operations, 44 of them a byte; at some 24 bytes a
// cycle and multiprocessor from the second-level cache that is less than a third of
// what the tensor cores do there. Half as wide again is 66 a byte. One block, which
// has all the registers, lies on a multiprocessor, and its tiles take 60 KB.
#include "mma_products.cuh"

WEIGHTED(f16, 256, 128, 256, 1, DYNAMIC_TILES)
WEIGHTED(bf16, 256, 128, 256, 1, DYNAMIC_TILES)
