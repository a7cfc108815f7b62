// Products on tensor cores in blocks of 64×64, for any operands, and of 128×128.
#include "mma_products.cuh"

#define LIVE(T) \
  KERNEL(256) mma_matmul_nn_##T(PRODUCT_PARAMS, const float* a, int aStride, const float* b, int bStride, EPILOGUE_PARAMS) { \
    STATIC_TILES(64, 64); \
    product<T, 64, 64, Matrix<float, true>, Matrix<float, false>, true>(tiles, {a, rows, aStride}, {b, columns, bStride}, rows, columns, terms, part, \
                                                                   perSplit, fast, NO_LOW, EPILOGUE(columns)); \
  } \
  KERNEL(256) mma_matmul_nt_##T(PRODUCT_PARAMS, const float* a, int aStride, const float* b, int bStride, EPILOGUE_PARAMS) { \
    STATIC_TILES(64, 64); \
    product<T, 64, 64, Matrix<float, true>, Matrix<float, true>, true>(tiles, {a, rows, aStride}, {b, columns, bStride}, rows, columns, terms, part, \
                                                                  perSplit, fast, NO_LOW, EPILOGUE(columns)); \
  } \
  KERNEL(256) mma_matmul_tn_##T(PRODUCT_PARAMS, const float* a, int aStride, const float* b, int bStride, EPILOGUE_PARAMS) { \
    STATIC_TILES(64, 64); \
    product<T, 64, 64, Matrix<float, false>, Matrix<float, false>, true>(tiles, {a, rows, aStride}, {b, columns, bStride}, rows, columns, terms, part, \
                                                                    perSplit, fast, NO_LOW, EPILOGUE(columns)); \
  } \
  KERNEL(256) mma_matmul_tt_##T(PRODUCT_PARAMS, const float* a, int aStride, const float* b, int bStride, EPILOGUE_PARAMS) { \
    STATIC_TILES(64, 64); \
    product<T, 64, 64, Matrix<float, false>, Matrix<float, true>, true>(tiles, {a, rows, aStride}, {b, columns, bStride}, rows, columns, terms, part, \
                                                                   perSplit, fast, NO_LOW, EPILOGUE(columns)); \
  } \
  KERNEL(256) mma_conv_weight_grad_##T(PRODUCT_PARAMS, const float* x, const float* dy, GEOMETRY_PARAMS, float* dw, float beta) { \
    STATIC_TILES(64, 64); \
    product<T, 64, 64, Matrix<float, false>, PixelsOfTaps, true>(tiles, {dy, o, o}, {{x, GEOMETRY}}, rows, columns, terms, part, perSplit, fast, NO_LOW, \
                                                            Gradient{dw, kh * kw, c, beta}); \
  }

WEIGHTED(f16, 64, 64, 64, 3, STATIC_TILES)
WEIGHTED(f16, 128, 128, 128, 2, STATIC_TILES)
LIVE(f16)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
WEIGHTED(bf16, 64, 64, 64, 3, STATIC_TILES)
WEIGHTED(bf16, 128, 128, 128, 2, STATIC_TILES)
LIVE(bf16)
#endif
