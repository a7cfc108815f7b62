// Attention on tensor cores for heads of up to 160 dimensions: operands rounded
// to T, scores, softmax and sums in float32. Forward as Dao, "FlashAttention-2"
// (arXiv:2307.08691), backward in two passes without atomics.
//
// A block of four warps owns 64 rows (queries, or keys in the pass for dk and
// dv), 16 to a warp. D is the head's size rounded up to what there is a kernel
// for; the rest is zero.
#include "base.cuh"

static const int ROWS = 64;
static const float LOG2E = 1.44269504f, LN2 = 0.693147181f;

// A tile in shared memory: rows of D halves and a skew that keeps ldmatrix free
// of bank conflicts.
template <int D>
__device__ __forceinline__ u16* cell(u16* tile, int row, int d) {
  return tile + row * (D + 8) + d;
}

// View is a head's columns in a matrix of tokens.
struct View {
  const float* p;
  int stride, rows, dim;
  bool fast; // rows lie at multiples of 16 bytes and dim is a multiple of 4
};

__device__ __forceinline__ View head(const float* p, int stride, int batch, int rows, int head, int dim, bool fast) {
  return View{p + (i64)batch * rows * stride + head * dim, stride, rows, dim, fast};
}

// fetch rounds rows [from, from+N) of a view into a tile.
template <class T, int D, int N>
__device__ __forceinline__ void fetch(u16* tile, const View& v, int from) {
#pragma unroll 4
  for (int i = threadIdx.x; i < N * (D / 4); i += 128) {
    int row = i / (D / 4), d = i % (D / 4) * 4;
    Four f = {};
    if (from + row < v.rows && d < v.dim) {
      const float* p = v.p + (i64)(from + row) * v.stride + d;
      if (v.fast) {
        f = load4(p);
      } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
          if (d + j < v.dim) f.v[j] = p[j];
      }
    }
    u32* to = (u32*)cell<D>(tile, row, d);
    to[0] = pack(T(), f.v[0], f.v[1]);
    to[1] = pack(T(), f.v[2], f.v[3]);
  }
}

// fragmentA is rows [row, row+16) × dimensions [d, d+16) of a tile.
template <int D>
__device__ __forceinline__ void fragmentA(u32 (&a)[4], u16* tile, int row, int d) {
  int j = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  ldmatrix(a, cell<D>(tile, row + (j & 1) * 8 + r, d + (j >> 1) * 8));
}

// columns is B of products with a tile's rows as columns: rows [row, row+16),
// dimensions [d, d+16) are summed over.
template <int D>
__device__ __forceinline__ void columns(u32 (&b)[4], u16* tile, int row, int d) {
  int j = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  ldmatrix(b, cell<D>(tile, row + (j >> 1) * 8 + r, d + (j & 1) * 8));
}

// terms is B of products that sum over a tile's rows [row, row+16), with its
// dimensions [d, d+16) as columns.
template <int D>
__device__ __forceinline__ void terms(u32 (&b)[4], u16* tile, int row, int d) {
  int j = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  ldmatrix_transposed(b, cell<D>(tile, row + (j & 1) * 8 + r, d + (j >> 1) * 8));
}

template <class T>
__device__ __forceinline__ void mma2(float (&c0)[4], float (&c1)[4], const u32 (&a)[4], const u32 (&b)[4]) {
  u32 first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
  mma(T(), c0, a, first);
  mma(T(), c1, a, second);
}

// scores is 16 rows of tile a by N rows of tile b, over all dimensions.
template <class T, int D, int N>
__device__ __forceinline__ void scores(float (&s)[N / 8][4], u16* a, int row, u16* b) {
#pragma unroll
  for (int j = 0; j < N / 8; j++)
    for (int r = 0; r < 4; r++) s[j][r] = 0;
#pragma unroll
  for (int d = 0; d < D; d += 16) {
    u32 x[4];
    fragmentA<D>(x, a, row, d);
#pragma unroll
    for (int j = 0; j < N; j += 16) {
      u32 w[4];
      columns<D>(w, b, j, d);
      mma2<T>(s[j / 8], s[j / 8 + 1], x, w);
    }
  }
}

// weigh adds p [16,N] · tile [N,D] to sum.
template <class T, int D, int N>
__device__ __forceinline__ void weigh(float (&sum)[D / 8][4], const float (&p)[N / 8][4], u16* tile) {
#pragma unroll
  for (int k = 0; k < N; k += 16) {
    const float *l = p[k / 8], *h = p[k / 8 + 1];
    u32 x[4] = {pack(T(), l[0], l[1]), pack(T(), l[2], l[3]), pack(T(), h[0], h[1]), pack(T(), h[2], h[3])};
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      u32 w[4];
      terms<D>(w, tile, k, d);
      mma2<T>(sum[d / 8], sum[d / 8 + 1], x, w);
    }
  }
}

// put stores a warp's 16 rows, the first of them row, times f of each half.
template <int D>
__device__ __forceinline__ void put(float* p, int stride, int row, int count, int dim, const float (&sum)[D / 8][4], float low, float high) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < D / 8; j++)
#pragma unroll
    for (int r = 0; r < 4; r++) {
      int i = row + lane / 4 + r / 2 * 8, d = 8 * j + lane % 4 * 2 + r % 2;
      if (i < count && d < dim) p[(i64)i * stride + d] = sum[j][r] * (r < 2 ? low : high);
    }
}

// across combines the four lanes that share a row.
__device__ __forceinline__ float across_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float across_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// forward: grid (query tiles, samples·heads).
template <class T, int D>
__device__ __forceinline__ void forward(float* o, int oStride, float* lse, View q, View k, View v, float scale, int causal) {
  const int KEYS = 64;
  __shared__ __align__(16) u16 keys[KEYS * (D + 8)], values[KEYS * (D + 8)];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q0 = blockIdx.x * ROWS, mine = q0 + 16 * warp;
  u32 query[D / 16][4];
  fetch<T, D, ROWS>(keys, q, q0);
  __syncthreads();
#pragma unroll
  for (int d = 0; d < D; d += 16) fragmentA<D>(query[d / 16], keys, 16 * warp, d);
  float sum[D / 8][4] = {}, high[2], total[2] = {0, 0};
  const float none = -__uint_as_float(0x7f800000);
  high[0] = high[1] = none;
  float factor = scale * LOG2E;
  int last = causal ? least(k.rows, q0 + ROWS) : k.rows;
  for (int k0 = 0; k0 < last; k0 += KEYS) {
    __syncthreads();
    fetch<T, D, KEYS>(keys, k, k0);
    fetch<T, D, KEYS>(values, v, k0);
    __syncthreads();
    float s[KEYS / 8][4] = {};
#pragma unroll
    for (int d = 0; d < D; d += 16)
#pragma unroll
      for (int j = 0; j < KEYS; j += 16) {
        u32 w[4];
        columns<D>(w, keys, j, d);
        mma2<T>(s[j / 8], s[j / 8 + 1], query[d / 16], w);
      }
    float top[2] = {high[0], high[1]};
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        int key = k0 + 8 * j + lane % 4 * 2 + r % 2, row = mine + lane / 4 + r / 2 * 8;
        s[j][r] = key < k.rows && (!causal || key <= row) ? s[j][r] * factor : none;
        top[r / 2] = fmaxf(top[r / 2], s[j][r]);
      }
    float fade[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      top[h] = across_max(top[h]);
      fade[h] = top[h] == none ? 1 : exp2_fast(high[h] - top[h]);
      high[h] = top[h];
      total[h] *= fade[h];
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        s[j][r] = s[j][r] == none ? 0 : exp2_fast(s[j][r] - high[r / 2]);
        total[r / 2] += s[j][r];
      }
#pragma unroll
    for (int j = 0; j < D / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) sum[j][r] *= fade[r / 2];
    weigh<T, D, KEYS>(sum, s, values);
  }
  float f[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    total[h] = across_sum(total[h]);
    f[h] = total[h] == 0 ? 0 : 1 / total[h];
    int row = mine + lane / 4 + 8 * h;
    if (lse && lane % 4 == 0 && row < q.rows) lse[(i64)blockIdx.y * q.rows + row] = total[h] == 0 ? none : high[h] * LN2 + log32(total[h]);
  }
  put<D>(o, oStride, mine, q.rows, q.dim, sum, f[0], f[1]);
}

#define HEADS_PARAMS int heads, int tq, int tk, int dim, float scale, int causal, int fast
#define ATTENTION(T, D) \
  KERNEL(128) mma_attention_##T##_##D(float* o, int oStride, float* lse, const float* q, int qStride, const float* k, int kStride, const float* v, \
                                      int vStride, HEADS_PARAMS) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    forward<T, D>(o + (i64)b * tq * oStride + i * dim, oStride, lse, head(q, qStride, b, tq, i, dim, fast), head(k, kStride, b, tk, i, dim, fast), \
                  head(v, vStride, b, tk, i, dim, fast), scale, causal); \
  }

ATTENTION(f16, 48)
ATTENTION(f16, 64)
ATTENTION(f16, 80)
ATTENTION(f16, 160)

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
ATTENTION(bf16, 48)
ATTENTION(bf16, 64)
ATTENTION(bf16, 80)
ATTENTION(bf16, 160)

static const int STEP = 32; // of the other axis, in backward

// Dynamic shared memory of backward: two tiles of ROWS, two of STEP.
template <int D>
struct Kept {
  u16 *a, *b, *c, *d;
  __device__ __forceinline__ Kept(u16* p) : a(p), b(a + ROWS * (D + 8)), c(b + ROWS * (D + 8)), d(c + STEP * (D + 8)) {}
};

// back_queries: dq of 64 queries over all keys.
template <class T, int D>
__device__ __forceinline__ void back_queries(float* dq, int dqStride, View dO, View q, View k, View v, const float* lse, const float* dotted, float scale,
                                             int causal) {
  DYNAMIC_SHARED(u16, memory);
  Kept<D> t(memory);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q0 = blockIdx.x * ROWS, mine = q0 + 16 * warp;
  fetch<T, D, ROWS>(t.a, q, q0);
  fetch<T, D, ROWS>(t.b, dO, q0);
  float shift[2], dot[2], sum[D / 8][4] = {};
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int row = mine + lane / 4 + 8 * h;
    shift[h] = row < q.rows ? lse[row] * LOG2E : 0;
    dot[h] = row < q.rows ? dotted[row] : 0;
  }
  int last = causal ? least(k.rows, q0 + ROWS) : k.rows;
  for (int k0 = 0; k0 < last; k0 += STEP) {
    __syncthreads();
    fetch<T, D, STEP>(t.c, k, k0);
    fetch<T, D, STEP>(t.d, v, k0);
    __syncthreads();
    float s[STEP / 8][4], dp[STEP / 8][4];
    scores<T, D, STEP>(s, t.a, 16 * warp, t.c);
    scores<T, D, STEP>(dp, t.b, 16 * warp, t.d);
#pragma unroll
    for (int j = 0; j < STEP / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        int key = k0 + 8 * j + lane % 4 * 2 + r % 2, row = mine + lane / 4 + r / 2 * 8;
        bool seen = row < q.rows && key < k.rows && (!causal || key <= row);
        s[j][r] = seen ? exp2_fast(s[j][r] * (scale * LOG2E) - shift[r / 2]) * (dp[j][r] - dot[r / 2]) * scale : 0;
      }
    weigh<T, D, STEP>(sum, s, t.c);
  }
  put<D>(dq, dqStride, mine, q.rows, q.dim, sum, 1, 1);
}

// back_keys: dk and dv of 64 keys over all queries.
template <class T, int D>
__device__ __forceinline__ void back_keys(float* dk, int dkStride, float* dv, int dvStride, View dO, View q, View k, View v, const float* lse,
                                          const float* dotted, float scale, int causal) {
  DYNAMIC_SHARED(u16, memory);
  Kept<D> t(memory);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, k0 = blockIdx.x * ROWS, mine = k0 + 16 * warp;
  fetch<T, D, ROWS>(t.a, k, k0);
  fetch<T, D, ROWS>(t.b, v, k0);
  float sumK[D / 8][4] = {}, sumV[D / 8][4] = {};
  for (int q0 = causal ? k0 / STEP * STEP : 0; q0 < q.rows; q0 += STEP) {
    __syncthreads();
    fetch<T, D, STEP>(t.c, q, q0);
    fetch<T, D, STEP>(t.d, dO, q0);
    __syncthreads();
    float s[STEP / 8][4], ds[STEP / 8][4];
    scores<T, D, STEP>(s, t.a, 16 * warp, t.c);
    scores<T, D, STEP>(ds, t.b, 16 * warp, t.d);
#pragma unroll
    for (int j = 0; j < STEP / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        int row = q0 + 8 * j + lane % 4 * 2 + r % 2, key = mine + lane / 4 + r / 2 * 8;
        bool seen = row < q.rows && key < k.rows && (!causal || key <= row);
        float p = seen ? exp2_fast(s[j][r] * (scale * LOG2E) - lse[row] * LOG2E) : 0;
        ds[j][r] = seen ? p * (ds[j][r] - dotted[row]) * scale : 0;
        s[j][r] = p;
      }
    weigh<T, D, STEP>(sumV, s, t.d);
    weigh<T, D, STEP>(sumK, ds, t.c);
  }
  put<D>(dk, dkStride, mine, k.rows, k.dim, sumK, 1, 1);
  put<D>(dv, dvStride, mine, k.rows, k.dim, sumV, 1, 1);
}

#define BACK_PARAMS \
  const float *dO, int doStride, const float *q, int qStride, const float *k, int kStride, const float *v, int vStride, const float *lse, \
      const float *dotted, HEADS_PARAMS
#define BACK_VIEWS \
  head(dO, doStride, b, tq, i, dim, fast), head(q, qStride, b, tq, i, dim, fast), head(k, kStride, b, tk, i, dim, fast), \
      head(v, vStride, b, tk, i, dim, fast), lse + (i64)blockIdx.y * tq, dotted + (i64)blockIdx.y * tq, scale, causal
#define ATTENTION_BACK(T, D) \
  KERNEL(128) mma_attention_back_queries_##T##_##D(float* dq, int dqStride, BACK_PARAMS) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    back_queries<T, D>(dq + (i64)b * tq * dqStride + i * dim, dqStride, BACK_VIEWS); \
  } \
  KERNEL(128) mma_attention_back_keys_##T##_##D(float* dk, int dkStride, float* dv, int dvStride, BACK_PARAMS) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    back_keys<T, D>(dk + (i64)b * tk * dkStride + i * dim, dkStride, dv + (i64)b * tk * dvStride + i * dim, dvStride, BACK_VIEWS); \
  }

ATTENTION_BACK(bf16, 48)
ATTENTION_BACK(bf16, 64)
ATTENTION_BACK(bf16, 80)
ATTENTION_BACK(bf16, 160)
#endif
