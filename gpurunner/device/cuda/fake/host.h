// CUDA's names, for the processor: what a kernel's source needs to compile and
// run as C++ on the fibers of fibers.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef LOWRANK_LIST // fake.sh reads the entries' names off the preprocessed text
#define __global__ LOWRANK_ENTRY
#else
#define __global__
#endif
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))

namespace fake {

struct Index {
  unsigned x, y, z;
};

// Where the running CUDA thread is in its launch.
struct Thread {
  Index thread, block, blockSize, gridSize;
};
extern thread_local Thread* current;

// barrier waits for all threads of the block.
void barrier(const char* file, int line);

// Collective is an operation of a whole warp: each lane hands in at most 64
// bytes; the last one to arrive calls f with all lanes' bytes, and each lane
// may then read what f left there in its own row.
typedef unsigned char Lanes[32][64];
typedef void (*Collective)(Lanes& lanes, int argument);
const unsigned char* collective(const void* mine, int size, Collective f, int argument, const char* what);

// later queues a copy for the running thread, of zeros if from is null; arrive
// makes its copies happen.
void later(void* to, const void* from, int size);
void arrive();

// aligned fails the kernel where an address is not a multiple of n.
void aligned(const void* p, int n, const char* what);

// dynamic_shared is the block's dynamic shared memory. It ends at a guard page.
void* dynamic_shared();

inline void exchange(Lanes& lanes, int mask) {
  Lanes old;
  memcpy(old, lanes, sizeof old);
  for (int i = 0; i < 32; i++) memcpy(lanes[i], old[i ^ mask], 8);
}

} // namespace fake

#define threadIdx (fake::current->thread)
#define blockIdx (fake::current->block)
#define blockDim (fake::current->blockSize)
#define gridDim (fake::current->gridSize)
#define __syncthreads() fake::barrier(__FILE__, __LINE__)
#define __syncwarp() fake::collective(nullptr, 0, nullptr, 0, "__syncwarp")

template <class T>
inline T __shfl_xor_sync(unsigned, T v, int mask) {
  static_assert(sizeof v <= 8, "a shuffle moves 4 or 8 bytes");
  T out;
  memcpy(&out, fake::collective(&v, sizeof v, fake::exchange, mask, "__shfl_xor_sync"), sizeof out);
  return out;
}

inline float __uint_as_float(unsigned u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline unsigned __float_as_uint(float f) {
  unsigned u;
  memcpy(&u, &f, 4);
  return u;
}

// fmaf, sqrtf and the like come from <cmath>; these are overloads there.
using std::rint;
using std::sqrt;
