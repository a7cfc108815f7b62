// Attention in float32 for any head size, by online softmax (Dao et al.,
// arXiv:2205.14135) without a TQ×TK matrix, and its backward without atomics.
//
// A block of four warps owns 16 rows (queries, or keys in attention_back_keys),
// four to a warp, and goes over tiles of 32 columns in order: a lane is a
// column while scores are computed, and a dimension of the head while rows of
// values are summed. Heads of more than 32·CHUNKS dimensions are done in
// groups, blockIdx.z, each computing the scores anew.
#include "base.cuh"

static const int ROWS = 16, COLS = 32, PER_WARP = 4;

// View is a device.Matrix with heads as column ranges.
struct View {
  const float* p; // of the head's first element in the sample's first row
  int stride;
};

__device__ __forceinline__ View head(const float* p, int stride, int batch, int rows, int head, int dim) {
  return View{p + (i64)batch * rows * stride + head * dim, stride};
}

struct Shared {
  float rows[ROWS][33], cols[COLS][33];
  float p[ROWS][33], ds[ROWS][33];
};

// fetch brings rows [i0, i0+n) of dimensions [d0, d0+32) to dst, 0 outside.
template <int N>
__device__ __forceinline__ void fetch(float (*dst)[33], View v, int i0, int count, int d0, int dim) {
  int d = threadIdx.x % 32;
  for (int i = threadIdx.x / 32; i < N; i += 4)
    dst[i][d] = i0 + i < count && d0 + d < dim ? v.p[(i64)(i0 + i) * v.stride + d0 + d] : 0;
}

// dots computes the products of the block's rows with 32 columns: s[r] is that
// of row 4·warp+r with column lane.
__device__ __forceinline__ void dots(float (&s)[PER_WARP], Shared& t, View rows, int r0, int rowCount, View cols, int c0, int colCount, int dim) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int r = 0; r < PER_WARP; r++) s[r] = 0;
  for (int d0 = 0; d0 < dim; d0 += 32) {
    __syncthreads();
    fetch<ROWS>(t.rows, rows, r0, rowCount, d0, dim);
    fetch<COLS>(t.cols, cols, c0, colCount, d0, dim);
    __syncthreads();
#pragma unroll 8
    for (int d = 0; d < 32; d++) {
      float x = t.cols[lane][d];
      for (int r = 0; r < PER_WARP; r++) s[r] = fmaf(t.rows[warp * PER_WARP + r][d], x, s[r]);
    }
  }
}

// weigh adds p·values of 32 columns to the rows' sums.
template <int CHUNKS>
__device__ __forceinline__ void weigh(float (&sum)[PER_WARP][CHUNKS], float (*p)[33], Shared& t, View v, int c0, int count, int first, int dim) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    if (first + c * 32 >= dim) break;
    __syncthreads();
    fetch<COLS>(t.cols, v, c0, count, first + c * 32, dim);
    __syncthreads();
#pragma unroll 4
    for (int j = 0; j < COLS; j++) {
      float x = t.cols[j][lane];
      for (int r = 0; r < PER_WARP; r++) sum[r][c] = fmaf(p[warp * PER_WARP + r][j], x, sum[r][c]);
    }
  }
}

template <int CHUNKS>
__device__ __forceinline__ void put(float* p, int stride, int r0, int count, int first, int dim, const float (&sum)[PER_WARP][CHUNKS]) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int c = 0; c < CHUNKS; c++)
    for (int r = 0; r < PER_WARP; r++) {
      int row = r0 + warp * PER_WARP + r, d = first + c * 32 + lane;
      if (row < count && d < dim) p[(i64)row * stride + d] = sum[r][c];
    }
}

// attention: grid (query tiles, samples·heads, groups of dimensions).
template <int CHUNKS>
__device__ __forceinline__ void forward(float* o, int oStride, float* lse, View q, View k, View v, int tq, int tk, int dim, float scale, int causal) {
  __shared__ Shared t;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int q0 = blockIdx.x * ROWS, first = blockIdx.z * CHUNKS * 32;
  float sum[PER_WARP][CHUNKS] = {}, high[PER_WARP], total[PER_WARP];
  const float none = -__uint_as_float(0x7f800000);
  for (int r = 0; r < PER_WARP; r++) high[r] = none, total[r] = 0;
  int last = causal ? least(tk, q0 + ROWS) : tk;
  for (int k0 = 0; k0 < last; k0 += COLS) {
    float s[PER_WARP];
    dots(s, t, q, q0, tq, k, k0, tk, dim);
    for (int r = 0; r < PER_WARP; r++) {
      int row = q0 + warp * PER_WARP + r, key = k0 + lane;
      bool seen = key < tk && (!causal || key <= row);
      float x = seen ? s[r] * scale : none;
      float top = fmaxf(high[r], warp_max(x));
      float p = seen ? exp32(x - top) : 0;
      float fade = top == none ? 1 : exp32(high[r] - top);
      high[r] = top;
      total[r] = total[r] * fade + warp_sum(p);
      for (int c = 0; c < CHUNKS; c++) sum[r][c] *= fade;
      t.p[warp * PER_WARP + r][lane] = p;
    }
    weigh<CHUNKS>(sum, t.p, t, v, k0, tk, first, dim);
  }
  for (int r = 0; r < PER_WARP; r++) {
    float f = total[r] == 0 ? 0 : 1 / total[r];
    for (int c = 0; c < CHUNKS; c++) sum[r][c] *= f;
    int row = q0 + warp * PER_WARP + r;
    if (lse && blockIdx.z == 0 && lane == 0 && row < tq)
      lse[(i64)blockIdx.y * tq + row] = total[r] == 0 ? none : high[r] + log32(total[r]);
  }
  put<CHUNKS>(o, oStride, q0, tq, first, dim, sum);
}

#define ATTENTION(name, CHUNKS) \
  KERNEL(128) name(float* o, int oStride, float* lse, const float* q, int qStride, const float* k, int kStride, const float* v, int vStride, \
                   int heads, int tq, int tk, int dim, float scale, int causal) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    forward<CHUNKS>(o + (i64)b * tq * oStride + i * dim, oStride, lse, head(q, qStride, b, tq, i, dim), head(k, kStride, b, tk, i, dim), \
                    head(v, vStride, b, tk, i, dim), tq, tk, dim, scale, causal); \
  }
ATTENTION(attention_64, 2)
ATTENTION(attention_160, 5)
ATTENTION(attention_512, 16)

// attention_dots leaves Σ do·o of each row and head: a warp a row.
KERNEL(128) attention_dots(float* out, const float* dO, int doStride, const float* o, int oStride, int heads, int tq, int dim) {
  int row = blockIdx.x * 4 + threadIdx.x / 32, b = blockIdx.y / heads, i = blockIdx.y % heads;
  View x = head(dO, doStride, b, tq, i, dim), y = head(o, oStride, b, tq, i, dim);
  float sum = 0;
  if (row < tq)
    for (int d = threadIdx.x % 32; d < dim; d += 32) sum = fmaf(x.p[(i64)row * x.stride + d], y.p[(i64)row * y.stride + d], sum);
  sum = warp_sum(sum);
  if (row < tq && threadIdx.x % 32 == 0) out[(i64)blockIdx.y * tq + row] = sum;
}

// attention_back_keys: dk and dv of a tile of 16 keys over all queries.
template <int CHUNKS>
__device__ __forceinline__ void back_keys(float* dk, int dkStride, float* dv, int dvStride, View dO, View q, View k, View v,
                                          const float* lse, const float* dotted, int tq, int tk, int dim, float scale, int causal) {
  __shared__ Shared t;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int k0 = blockIdx.x * ROWS, first = blockIdx.z * CHUNKS * 32;
  float sumK[PER_WARP][CHUNKS] = {}, sumV[PER_WARP][CHUNKS] = {};
  for (int q0 = causal ? k0 / COLS * COLS : 0; q0 < tq; q0 += COLS) {
    float s[PER_WARP], dp[PER_WARP];
    dots(s, t, k, k0, tk, q, q0, tq, dim);
    dots(dp, t, v, k0, tk, dO, q0, tq, dim);
    int row = q0 + lane;
    float shift = row < tq ? lse[row] : 0, dot = row < tq ? dotted[row] : 0;
    for (int r = 0; r < PER_WARP; r++) {
      int key = k0 + warp * PER_WARP + r;
      bool seen = row < tq && key < tk && (!causal || key <= row);
      float p = seen ? exp32(s[r] * scale - shift) : 0;
      t.p[warp * PER_WARP + r][lane] = p;
      t.ds[warp * PER_WARP + r][lane] = seen ? p * (dp[r] - dot) * scale : 0;
    }
    weigh<CHUNKS>(sumV, t.p, t, dO, q0, tq, first, dim);
    weigh<CHUNKS>(sumK, t.ds, t, q, q0, tq, first, dim);
  }
  put<CHUNKS>(dk, dkStride, k0, tk, first, dim, sumK);
  put<CHUNKS>(dv, dvStride, k0, tk, first, dim, sumV);
}

// attention_back_queries: dq of a tile of 16 queries over all keys.
template <int CHUNKS>
__device__ __forceinline__ void back_queries(float* dq, int dqStride, View dO, View q, View k, View v, const float* lse, const float* dotted,
                                             int tq, int tk, int dim, float scale, int causal) {
  __shared__ Shared t;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int q0 = blockIdx.x * ROWS, first = blockIdx.z * CHUNKS * 32;
  float sum[PER_WARP][CHUNKS] = {};
  int last = causal ? least(tk, q0 + ROWS) : tk;
  for (int k0 = 0; k0 < last; k0 += COLS) {
    float s[PER_WARP], dp[PER_WARP];
    dots(s, t, q, q0, tq, k, k0, tk, dim);
    dots(dp, t, dO, q0, tq, v, k0, tk, dim);
    for (int r = 0; r < PER_WARP; r++) {
      int row = q0 + warp * PER_WARP + r, key = k0 + lane;
      bool seen = row < tq && key < tk && (!causal || key <= row);
      float p = seen ? exp32(s[r] * scale - lse[row]) : 0;
      t.ds[warp * PER_WARP + r][lane] = seen ? p * (dp[r] - dotted[row]) * scale : 0;
    }
    weigh<CHUNKS>(sum, t.ds, t, k, k0, tk, first, dim);
  }
  put<CHUNKS>(dq, dqStride, q0, tq, first, dim, sum);
}

#define ATTENTION_BACK(keys, queries, CHUNKS) \
  KERNEL(128) keys(float* dk, int dkStride, float* dv, int dvStride, const float* dO, int doStride, const float* q, int qStride, \
                   const float* k, int kStride, const float* v, int vStride, const float* lse, const float* dotted, int heads, int tq, \
                   int tk, int dim, float scale, int causal) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    back_keys<CHUNKS>(dk + (i64)b * tk * dkStride + i * dim, dkStride, dv + (i64)b * tk * dvStride + i * dim, dvStride, \
                      head(dO, doStride, b, tq, i, dim), head(q, qStride, b, tq, i, dim), head(k, kStride, b, tk, i, dim), \
                      head(v, vStride, b, tk, i, dim), lse + (i64)blockIdx.y * tq, dotted + (i64)blockIdx.y * tq, tq, tk, dim, scale, causal); \
  } \
  KERNEL(128) queries(float* dq, int dqStride, const float* dO, int doStride, const float* q, int qStride, const float* k, int kStride, \
                      const float* v, int vStride, const float* lse, const float* dotted, int heads, int tq, int tk, int dim, float scale, \
                      int causal) { \
    int b = blockIdx.y / heads, i = blockIdx.y % heads; \
    back_queries<CHUNKS>(dq + (i64)b * tq * dqStride + i * dim, dqStride, head(dO, doStride, b, tq, i, dim), head(q, qStride, b, tq, i, dim), \
                         head(k, kStride, b, tk, i, dim), head(v, vStride, b, tk, i, dim), lse + (i64)blockIdx.y * tq, \
                         dotted + (i64)blockIdx.y * tq, tq, tk, dim, scale, causal); \
  }
ATTENTION_BACK(attention_back_keys_64, attention_back_queries_64, 2)
ATTENTION_BACK(attention_back_keys_160, attention_back_queries_160, 5)
ATTENTION_BACK(attention_back_keys_256, attention_back_queries_256, 8)

// softmax_rows turns scores [rows,count] into probabilities in place and leaves
// the log of each row's sum of exponentials; a block a row. It serves heads too
// wide for tensor cores' attention, a block of queries at a time, the first of
// them query number first.
KERNEL(256) softmax_rows(float* s, int count, float* lse, int first, int causal) {
  __shared__ float part[32];
  float* row = s + (i64)blockIdx.x * count;
  int seen = causal ? least(count, first + (int)blockIdx.x + 1) : count;
  const float none = -__uint_as_float(0x7f800000);
  float top = none;
  for (int i = threadIdx.x; i < seen; i += 256) top = fmaxf(top, row[i]);
  top = warp_max(top);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = top;
  __syncthreads();
  for (int w = 0; w < 8; w++) top = fmaxf(top, part[w]);
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += 256) {
    float p = i < seen ? exp32(row[i] - top) : 0;
    row[i] = p;
    sum += p;
  }
  sum = block_sum(sum, part);
  float f = sum == 0 ? 0 : 1 / sum;
  for (int i = threadIdx.x; i < count; i += 256) row[i] *= f;
  if (lse && threadIdx.x == 0) lse[blockIdx.x] = sum == 0 ? none : top + log32(sum);
}
