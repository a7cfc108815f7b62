// Attention on tensor cores for heads of up to 160 dimensions: operands rounded
// to T, scores, softmax and sums in float32. Forward as Dao, "FlashAttention-2"
// (arXiv:2307.08691), backward in two passes without atomics.
//
// Every block of queries goes over all keys, so the operands are rounded once,
// by mma_heads, to [samples·heads,tokens,D] in T: D is the head's size rounded up
// to what there is a kernel for, the rest is zero. A block of four warps owns 64
// rows (queries, or keys in the pass for dk and dv), 16 to a warp. Tiles of the
// other axis alternate between two places: while one is multiplied, the next is on
// its way by asynchronous copies.
#include "base.cuh"

static const int ROWS = 64, THREADS = 128;
static const float LOG2E = 1.44269504f;

// Source is a matrix of tokens, [samples·tokens,heads·dim], and where it goes.
struct Source {
  u16* to;
  const float* p;
  int stride, tokens;
};

// heads: a thread rounds eight dimensions of a token. Grid: (of the longest source,
// sources). fast says that rows lie at multiples of 16 bytes and dim is a multiple
// of 4.
template <class T>
__device__ __forceinline__ void heads_of(const Source& s, int samples, int heads, int dim, int wide, bool fast) {
  i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= (i64)samples * s.tokens * heads * (wide / 8)) return;
  Split run = split(i, wide / 8), head = split(run.quotient, heads), token = split(head.quotient, s.tokens);
  int d = run.rest * 8;
  const float* p = s.p + head.quotient * s.stride + head.rest * dim + d;
  float v[8] = {};
  if (fast) {
#pragma unroll
    for (int j = 0; j < 8; j += 4)
      if (d + j < dim) {
        Four f = load4(p + j);
        for (int n = 0; n < 4; n++) v[j + n] = f.v[n];
      }
  } else {
    for (int j = 0; j < 8; j++)
      if (d + j < dim) v[j] = p[j];
  }
  Sixteen out;
#pragma unroll
  for (int j = 0; j < 4; j++) out.v[j] = pack(T(), v[2 * j], v[2 * j + 1]);
  store16(s.to + ((token.quotient * heads + head.rest) * s.tokens + token.rest) * wide + d, out);
}

#define HEADS(T) \
  KERNEL(256) mma_heads_##T(u16* to0, const float* p0, int stride0, int tokens0, u16* to1, const float* p1, int stride1, int tokens1, u16* to2, \
                            const float* p2, int stride2, int tokens2, u16* to3, const float* p3, int stride3, int tokens3, int samples, int heads, \
                            int dim, int wide, int fast) { \
    Source s = {to0, p0, stride0, tokens0}; \
    if (blockIdx.y == 1) s = Source{to1, p1, stride1, tokens1}; \
    if (blockIdx.y == 2) s = Source{to2, p2, stride2, tokens2}; \
    if (blockIdx.y == 3) s = Source{to3, p3, stride3, tokens3}; \
    heads_of<T>(s, samples, heads, dim, wide, fast); \
  }
HEADS(f16)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
HEADS(bf16)
#endif

// A tile in shared memory: rows of D halves and a skew that keeps ldmatrix free
// of bank conflicts.
template <int D>
__device__ __forceinline__ u16* cell(u16* tile, int row, int d) {
  return tile + row * (D + 8) + d;
}

// View is a head: [rows,D].
struct View {
  const u16* p;
  int rows;
};

__device__ __forceinline__ View head(const u16* p, int rows, int wide) { return View{p + (i64)blockIdx.y * rows * wide, rows}; }

// fetch sends rows [from, from+N) of a view on their way into a tile, zeros for
// those outside.
template <int D, int N>
__device__ __forceinline__ void fetch(u16* tile, const View& v, int from) {
  const u16* p = v.p + (i64)from * D;
#pragma unroll
  for (int i = threadIdx.x; i < N * (D / 8); i += THREADS) {
    int row = i / (D / 8);
    bool present = from + row < v.rows;
    copy_async(cell<D>(tile, row, i % (D / 8) * 8), present ? p + i * 8 : v.p, present);
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
  __syncwarp(); // lanes whose scores count and others: ldmatrix and mma want all of them together
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

// seen says that a query counts a key.
__device__ __forceinline__ bool seen(int row, int rows, int key, int keys, int causal) { return row < rows && key < keys && (!causal || key <= row); }

// forward: grid (query tiles, samples·heads).
template <class T, int D>
__device__ __forceinline__ void forward(float* o, int oStride, float* lse, View q, View k, View v, int dim, float scale, int causal) {
  const int KEYS = D <= 80 ? 64 : 32;
  static_assert(2 * KEYS >= ROWS, "the queries pass through the keys' tiles");
  __shared__ __align__(16) u16 keys[2][KEYS * (D + 8)], values[2][KEYS * (D + 8)];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q0 = blockIdx.x * ROWS, mine = q0 + 16 * warp;
  u32 query[D / 16][4];
  fetch<D, ROWS>(keys[0], q, q0);
  copy_async_wait();
  __syncthreads();
#pragma unroll
  for (int d = 0; d < D; d += 16) fragmentA<D>(query[d / 16], keys[0], 16 * warp, d);
  __syncthreads();
  float sum[D / 8][4] = {}, high[2], total[2] = {0, 0};
  const float none = -__uint_as_float(0x7f800000);
  high[0] = high[1] = none;
  float factor = fmaxf(scale * LOG2E, 1e-37f); // not 0, so that what does not count, -inf, stays that
  int last = causal ? least(k.rows, q0 + ROWS) : k.rows, now = 0;
  if (last > 0) {
    fetch<D, KEYS>(keys[0], k, 0);
    fetch<D, KEYS>(values[0], v, 0);
  }
  for (int k0 = 0; k0 < last; k0 += KEYS, now ^= 1) {
    copy_async_wait();
    __syncthreads(); // this tile is there, and the one before has been read
    if (k0 + KEYS < last) {
      fetch<D, KEYS>(keys[now ^ 1], k, k0 + KEYS);
      fetch<D, KEYS>(values[now ^ 1], v, k0 + KEYS);
    }
    float s[KEYS / 8][4] = {};
#pragma unroll
    for (int d = 0; d < D; d += 16)
#pragma unroll
      for (int j = 0; j < KEYS; j += 16) {
        u32 w[4];
        columns<D>(w, keys[now], j, d);
        mma2<T>(s[j / 8], s[j / 8 + 1], query[d / 16], w);
      }
    // Only the last tile, and those on the diagonal, have keys that do not count.
    if (k0 + KEYS > k.rows || (causal && k0 + KEYS > mine)) {
#pragma unroll
      for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int r = 0; r < 4; r++)
          if (!seen(mine + lane / 4 + r / 2 * 8, 1 << 30, k0 + 8 * j + lane % 4 * 2 + r % 2, k.rows, causal)) s[j][r] = none;
    }
    float shift[2], fade[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float top = high[h];
#pragma unroll
      for (int j = 0; j < KEYS / 8; j++) top = fmaxf(top, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
      top = across_max(top);
      // The scores are scaled within the exponent's multiply-add.
      shift[h] = top == none ? 0 : top * factor;
      fade[h] = exp2_fast(fmaf(high[h], factor, -shift[h]));
      high[h] = top;
      total[h] *= fade[h];
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        s[j][r] = exp2_fast(fmaf(s[j][r], factor, -shift[r / 2]));
        total[r / 2] += s[j][r];
      }
#pragma unroll
    for (int j = 0; j < D / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) sum[j][r] *= fade[r / 2];
    weigh<T, D, KEYS>(sum, s, values[now]);
  }
  float f[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    total[h] = across_sum(total[h]);
    f[h] = total[h] == 0 ? 0 : 1 / total[h];
    int row = mine + lane / 4 + 8 * h;
    if (lse && lane % 4 == 0 && row < q.rows) lse[(i64)blockIdx.y * q.rows + row] = total[h] == 0 ? none : fmaf(high[h], scale, log32(total[h]));
  }
  put<D>(o, oStride, mine, q.rows, dim, sum, f[0], f[1]);
}

#define HEADS_PARAMS int heads, int tq, int tk, int dim, float scale, int causal
#define ATTENTION(T, D) \
  KERNEL(128) mma_attention_##T##_##D(float* o, int oStride, float* lse, const u16* q, const u16* k, const u16* v, HEADS_PARAMS) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    forward<T, D>(o + (i64)b * tq * oStride + i * dim, oStride, lse, head(q, tq, D), head(k, tk, D), head(v, tk, D), dim, scale, causal); \
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

// Dynamic shared memory of backward: two tiles of ROWS, two places each for two of
// STEP and for two numbers of every row of a step.
template <int D>
struct Kept {
  u16 *a, *b;
  __device__ __forceinline__ Kept(u16* p) : a(p), b(p + ROWS * (D + 8)) {}
  __device__ __forceinline__ u16* c(int place) const { return b + (ROWS + 2 * place * STEP) * (D + 8); }
  __device__ __forceinline__ u16* d(int place) const { return c(place) + STEP * (D + 8); }
  __device__ __forceinline__ float* numbers(int place) const { return (float*)c(2) + 2 * place * STEP; }
};

// back_queries: dq of 64 queries over all keys.
template <class T, int D>
__device__ __forceinline__ void back_queries(float* dq, int dqStride, View dO, View q, View k, View v, const float* lse, const float* dotted, int dim,
                                             float scale, int causal) {
  DYNAMIC_SHARED(u16, memory);
  Kept<D> t(memory);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q0 = blockIdx.x * ROWS, mine = q0 + 16 * warp;
  fetch<D, ROWS>(t.a, q, q0);
  fetch<D, ROWS>(t.b, dO, q0);
  float shift[2], dot[2], sum[D / 8][4] = {}, factor = scale * LOG2E;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int row = mine + lane / 4 + 8 * h;
    shift[h] = row < q.rows ? lse[row] * LOG2E : 0;
    dot[h] = row < q.rows ? dotted[row] : 0;
  }
  int last = causal ? least(k.rows, q0 + ROWS) : k.rows, now = 0;
  if (last > 0) {
    fetch<D, STEP>(t.c(0), k, 0);
    fetch<D, STEP>(t.d(0), v, 0);
  } else {
    copy_async_wait();
  }
  for (int k0 = 0; k0 < last; k0 += STEP, now ^= 1) {
    copy_async_wait();
    __syncthreads();
    if (k0 + STEP < last) {
      fetch<D, STEP>(t.c(now ^ 1), k, k0 + STEP);
      fetch<D, STEP>(t.d(now ^ 1), v, k0 + STEP);
    }
    float s[STEP / 8][4], dp[STEP / 8][4];
    scores<T, D, STEP>(s, t.a, 16 * warp, t.c(now));
    scores<T, D, STEP>(dp, t.b, 16 * warp, t.d(now));
    bool all = mine + 16 <= q.rows && k0 + STEP <= k.rows && (!causal || k0 + STEP <= mine);
#pragma unroll
    for (int j = 0; j < STEP / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        bool counts = all || seen(mine + lane / 4 + r / 2 * 8, q.rows, k0 + 8 * j + lane % 4 * 2 + r % 2, k.rows, causal);
        s[j][r] = counts ? exp2_fast(fmaf(s[j][r], factor, -shift[r / 2])) * (dp[j][r] - dot[r / 2]) * scale : 0;
      }
    weigh<T, D, STEP>(sum, s, t.c(now));
  }
  put<D>(dq, dqStride, mine, q.rows, dim, sum, 1, 1);
}

// back_keys: dk and dv of 64 keys over all queries.
template <class T, int D>
__device__ __forceinline__ void back_keys(float* dk, int dkStride, float* dv, int dvStride, View dO, View q, View k, View v, const float* lse,
                                          const float* dotted, int dim, float scale, int causal) {
  DYNAMIC_SHARED(u16, memory);
  Kept<D> t(memory);
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, k0 = blockIdx.x * ROWS, mine = k0 + 16 * warp;
  float sumK[D / 8][4] = {}, sumV[D / 8][4] = {}, factor = scale * LOG2E;
  // next brings a step's queries, and the two numbers of each.
  auto next = [&](int at, int q0) {
    fetch<D, STEP>(t.c(at), q, q0);
    fetch<D, STEP>(t.d(at), dO, q0);
    int row = q0 + (int)threadIdx.x % STEP;
    if (threadIdx.x < 2 * STEP) t.numbers(at)[threadIdx.x] = row >= q.rows ? 0 : threadIdx.x < STEP ? lse[row] * LOG2E : dotted[row];
  };
  fetch<D, ROWS>(t.a, k, k0);
  fetch<D, ROWS>(t.b, v, k0);
  int first = causal ? k0 : 0, now = 0;
  if (first < q.rows)
    next(0, first);
  else
    copy_async_wait();
  for (int q0 = first; q0 < q.rows; q0 += STEP, now ^= 1) {
    copy_async_wait();
    __syncthreads();
    if (q0 + STEP < q.rows) next(now ^ 1, q0 + STEP);
    float s[STEP / 8][4], ds[STEP / 8][4];
    scores<T, D, STEP>(s, t.a, 16 * warp, t.c(now));
    scores<T, D, STEP>(ds, t.b, 16 * warp, t.d(now));
    bool all = q0 + STEP <= q.rows && mine + 16 <= k.rows && (!causal || mine + 15 <= q0);
#pragma unroll
    for (int j = 0; j < STEP / 8; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        int at = 8 * j + lane % 4 * 2 + r % 2;
        bool counts = all || seen(q0 + at, q.rows, mine + lane / 4 + r / 2 * 8, k.rows, causal);
        float p = counts ? exp2_fast(fmaf(s[j][r], factor, -t.numbers(now)[at])) : 0;
        ds[j][r] = counts ? p * (ds[j][r] - t.numbers(now)[STEP + at]) * scale : 0;
        s[j][r] = p;
      }
    weigh<T, D, STEP>(sumV, s, t.d(now));
    weigh<T, D, STEP>(sumK, ds, t.c(now));
  }
  put<D>(dk, dkStride, mine, k.rows, dim, sumK, 1, 1);
  put<D>(dv, dvStride, mine, k.rows, dim, sumV, 1, 1);
}

#define BACK_PARAMS const u16 *dO, const u16 *q, const u16 *k, const u16 *v, const float *lse, const float *dotted, HEADS_PARAMS
#define BACK_VIEWS(D) \
  head(dO, tq, D), head(q, tq, D), head(k, tk, D), head(v, tk, D), lse + (i64)blockIdx.y * tq, dotted + (i64)blockIdx.y * tq, dim, scale, causal
#define ATTENTION_BACK(T, D) \
  KERNEL(128) mma_attention_back_queries_##T##_##D(float* dq, int dqStride, BACK_PARAMS) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    back_queries<T, D>(dq + (i64)b * tq * dqStride + i * dim, dqStride, BACK_VIEWS(D)); \
  } \
  KERNEL(128) mma_attention_back_keys_##T##_##D(float* dk, int dkStride, float* dv, int dvStride, BACK_PARAMS) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    back_keys<T, D>(dk + (i64)b * tk * dkStride + i * dim, dkStride, dv + (i64)b * tk * dvStride + i * dim, dvStride, BACK_VIEWS(D)); \
  }

ATTENTION_BACK(bf16, 48)
ATTENTION_BACK(bf16, 64)
ATTENTION_BACK(bf16, 80)
ATTENTION_BACK(bf16, 160)
#endif
