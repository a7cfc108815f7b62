// Matrix products and convolutions in float32, by plain multiply-adds: the path
// that agrees with the processor's within parity tolerances.
//
// A block of 256 threads computes 64×64 elements; each thread 4×4 of them, one
// chain of fused multiply-adds per element over at most 512 terms, whose
// results are added in order. Long sums with few elements are split over
// blockIdx.z into parts of fixed length, which reduce_splits adds in order.
#include "epilogue.cuh"
#include "operands.cuh"

static const int TILE = 64;       // rows and columns of a block
static const int DEPTH = 16;      // terms per step
static const int CHAIN = 512;     // terms in one chain
static const int ROW = TILE + 4;  // of a tile in shared memory

struct Tiles {
  float a[DEPTH][ROW], b[DEPTH][ROW];
};

// load brings elements [i0, i0+64) × [k0, k0+16) of an operand to dst.
template <class Operand>
struct Stage {
  // Threads run along the axis that is contiguous in memory.
  static const int OUTERS = Operand::along_k ? 4 : 1, INNERS = Operand::along_k ? 1 : 4;
  typename Operand::Outer outers[OUTERS];

  __device__ __forceinline__ void start(const Operand& x, int i0) {
    for (int j = 0; j < OUTERS; j++) outers[j] = x.outer(i0 + column(j));
  }
  __device__ __forceinline__ static int column(int j) {
    return Operand::along_k ? threadIdx.x / DEPTH + 16 * j : threadIdx.x % TILE;
  }
  __device__ __forceinline__ static int term(int j) {
    return Operand::along_k ? threadIdx.x % DEPTH : threadIdx.x / TILE + 4 * j;
  }
  __device__ __forceinline__ void load(const Operand& x, float (*dst)[ROW], int k0, int end) {
    if (Operand::along_k) {
      typename Operand::Inner k = x.inner(k0 + term(0), end);
      for (int j = 0; j < 4; j++) dst[term(0)][column(j)] = x.at(outers[j % OUTERS], k);
    } else {
      for (int j = 0; j < 4; j++) dst[term(j)][column(0)] = x.at(outers[0], x.inner(k0 + term(j), end));
    }
  }
};

// accumulate adds Σ over k in [begin, end) of a(m,k)·b(n,k) to sum.
template <class A, class B>
__device__ __forceinline__ void accumulate(float (&sum)[4][4], Tiles& t, const A& a, const B& b, int m0, int n0, int begin, int end) {
  Stage<A> sa;
  Stage<B> sb;
  sa.start(a, m0);
  sb.start(b, n0);
  int col = threadIdx.x % 16 * 4, row = threadIdx.x / 16 * 4;
  for (int chain = begin; chain < end; chain += CHAIN) {
    float part[4][4] = {};
    int last = least(chain + CHAIN, end);
    for (int k = chain; k < last; k += DEPTH) {
      __syncthreads(); // the tiles of the step before have been read
      sa.load(a, t.a, k, last);
      sb.load(b, t.b, k, last);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < DEPTH; d++) {
        float x[4], w[4];
        for (int i = 0; i < 4; i++) x[i] = t.a[d][row + i];
        for (int j = 0; j < 4; j++) w[j] = t.b[d][col + j];
        for (int i = 0; i < 4; i++)
          for (int j = 0; j < 4; j++) part[i][j] = fmaf(x[i], w[j], part[i][j]);
      }
    }
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 4; j++) sum[i][j] += part[i][j];
  }
}

template <class End>
__device__ __forceinline__ void finish(const float (&sum)[4][4], const End& e, int m0, int n0, int rows, int columns) {
  int n = n0 + threadIdx.x % 16 * 4, m = m0 + threadIdx.x / 16 * 4;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++)
      if (m + i < rows && n + j < columns) store(e, m + i, n + j, sum[i][j]);
}

// A low-rank term: low [M,rank] and up [N,rank], or, back, down [rank,N].
#define LOW_PARAMS const float *low, int lowStride, const float *up, int upStride, int rank

// product computes part blockIdx.z of the sum over [0, terms), parts of
// perSplit terms. The last part adds the low-rank term. With part null there is
// one part, and it is stored.
template <class A, class B, bool lowAlongK, class End>
__device__ __forceinline__ void product(const A& a, const B& b, int rows, int columns, int terms, float* part, int perSplit,
                                        const float* low, int lowStride, const float* up, int upStride, int rank, const End& e) {
  __shared__ Tiles t;
  float sum[4][4] = {};
  int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE;
  int begin = blockIdx.z * perSplit;
  accumulate(sum, t, a, b, m0, n0, begin, least(begin + perSplit, terms));
  if (rank > 0 && blockIdx.z == gridDim.z - 1)
    accumulate(sum, t, Matrix<float, true>{low, rows, lowStride}, Matrix<float, lowAlongK>{up, columns, upStride}, m0, n0, 0, rank);
  if (part)
    finish(sum, Partial{part + (i64)blockIdx.z * rows * columns, columns}, m0, n0, rows, columns);
  else
    finish(sum, e, m0, n0, rows, columns);
}

#define PRODUCT_PARAMS int rows, int columns, int terms, float *part, int perSplit

// y [M,N] = epi(x [M,K]·Wᵀ + h·upᵀ), W [N,K].
#define LINEAR(name, T) \
  KERNEL(256) name(PRODUCT_PARAMS, const float* x, int xStride, const T* w, LOW_PARAMS, EPILOGUE_PARAMS) { \
    product<Matrix<float, true>, Matrix<T, true>, true>({x, rows, xStride}, {w, columns, terms}, rows, columns, terms, part, perSplit, \
                                                       low, lowStride, up, upStride, rank, EPILOGUE(columns)); \
  }
LINEAR(linear_f32, float)
LINEAR(linear_f16, f16)
LINEAR(linear_bf16, bf16)

// dx [M,K] = dy [M,N]·W + dh·down + beta·dx; columns is K, terms N.
#define LINEAR_BACK(name, T) \
  KERNEL(256) name(PRODUCT_PARAMS, const float* x, int xStride, const T* w, LOW_PARAMS, EPILOGUE_PARAMS) { \
    product<Matrix<float, true>, Matrix<T, false>, false>({x, rows, xStride}, {w, columns, columns}, rows, columns, terms, part, perSplit, \
                                                         low, lowStride, up, upStride, rank, EPILOGUE(columns)); \
  }
LINEAR_BACK(linear_back_f32, float)
LINEAR_BACK(linear_back_f16, f16)
LINEAR_BACK(linear_back_bf16, bf16)

// c [M,N] = epi(op(a)·op(b)): n as stored, t transposed.
#define MATMUL(name, aAlongK, bAlongK) \
  KERNEL(256) name(PRODUCT_PARAMS, const float* a, int aStride, const float* b, int bStride, EPILOGUE_PARAMS) { \
    product<Matrix<float, aAlongK>, Matrix<float, bAlongK>, true>({a, rows, aStride}, {b, columns, bStride}, rows, columns, terms, part, \
                                                                 perSplit, 0, 0, 0, 0, 0, EPILOGUE(columns)); \
  }
MATMUL(matmul_nn, true, false)
MATMUL(matmul_nt, true, true)
MATMUL(matmul_tn, false, false)
MATMUL(matmul_tt, false, true)

// y [N·OutH·OutW,O] = epi(conv(x, W) + h·upᵀ), W [O,kh,kw,C].
#define CONV(name, T) \
  KERNEL(256) name(PRODUCT_PARAMS, const float* x, const T* kernel, GEOMETRY_PARAMS, LOW_PARAMS, EPILOGUE_PARAMS) { \
    product<Pixels, Matrix<T, true>, true>({x, GEOMETRY}, {kernel, columns, terms}, rows, columns, terms, part, perSplit, low, lowStride, up, \
                                           upStride, rank, EPILOGUE(columns)); \
  }
CONV(conv_f32, float)
CONV(conv_f16, f16)
CONV(conv_bf16, bf16)

// dx [N·H·W,C] = backward-data + beta·dx. The picture is not stretched.
#define CONV_BACK(name, T) \
  KERNEL(256) name(PRODUCT_PARAMS, const float* dy, const T* kernel, GEOMETRY_PARAMS, float* dx, float beta) { \
    Epilogue e = {1, 0, 0, 0, 0, IDENTITY, {}, 0, 0, beta, dx, c, c}; \
    product<Gradients, Mirrored<T>, true>({dy, GEOMETRY}, {kernel, c, o, kh * kw}, rows, columns, terms, part, perSplit, 0, 0, 0, 0, 0, e); \
  }
CONV_BACK(conv_back_f32, float)
CONV_BACK(conv_back_f16, f16)
CONV_BACK(conv_back_bf16, bf16)

// dw [O,C,kh,kw] = Σ over output pixels of dy·x + beta·dw.
KERNEL(256) conv_weight_grad(PRODUCT_PARAMS, const float* x, const float* dy, GEOMETRY_PARAMS, float* dw, float beta) {
  product<Matrix<float, false>, PixelsOfTaps, true>({dy, o, o}, {{x, GEOMETRY}}, rows, columns, terms, part, perSplit, 0, 0, 0, 0, 0,
                                                    Gradient{dw, kh * kw, c, beta});
}

__device__ __forceinline__ float sum_splits(const float* part, int splits, int rows, int columns, i64 i) {
  float v = 0;
  for (int s = 0; s < splits; s++) v += part[(i64)s * rows * columns + i];
  return v;
}

// reduce_splits adds the parts [splits,M,N] of a product in order and stores.
KERNEL(256) reduce_splits(const float* part, int splits, int rows, int columns, EPILOGUE_PARAMS) {
  i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= (i64)rows * columns) return;
  Split at = split(i, columns);
  store(EPILOGUE(columns), (int)at.quotient, at.rest, sum_splits(part, splits, rows, columns, i));
}

KERNEL(256) reduce_splits_grad(const float* part, int splits, int rows, int columns, float* dw, int taps, int channels, float beta) {
  i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= (i64)rows * columns) return;
  Split at = split(i, columns);
  store(Gradient{dw, taps, channels, beta}, (int)at.quotient, at.rest, sum_splits(part, splits, rows, columns, i));
}
