// Kernels that move and map, a thread an element unless it says otherwise.
#include "base.cuh"

#define INDEX ((i64)blockIdx.x * 256 + threadIdx.x)

// combine: y = Σ coef[j]·x_j over terms ≤ 8, + y with again.
KERNEL(256) combine(float* y, i64 n, const float* coef, int terms, const float* x0, const float* x1, const float* x2, const float* x3,
                    const float* x4, const float* x5, const float* x6, const float* x7, int again) {
  i64 i = INDEX;
  if (i >= n) return;
  const float* x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
  float v = again ? fmaf(coef[0], x[0][i], y[i]) : coef[0] * x[0][i];
#pragma unroll
  for (int j = 1; j < 8; j++)
    if (j < terms) v = fmaf(coef[j], x[j][i], v);
  y[i] = v;
}

KERNEL(256) add(float* y, const float* a, const float* b, i64 n) {
  i64 i = INDEX;
  if (i < n) y[i] = a[i] + b[i];
}

KERNEL(256) mul(float* y, const float* a, const float* b, i64 n) {
  i64 i = INDEX;
  if (i < n) y[i] = a[i] * b[i];
}

KERNEL(256) activation(float* y, const float* x, i64 n, int f) {
  i64 i = INDEX;
  if (i < n) y[i] = activate(f, x[i]);
}

KERNEL(256) activation_back(float* dx, const float* dy, const float* x, i64 n, int f, float acc) {
  i64 i = INDEX;
  if (i >= n) return;
  float v = f == IDENTITY ? dy[i] : dy[i] * slope(f, x[i]);
  if (acc != 0) v += acc * dx[i];
  dx[i] = v;
}

// At is the place of thread INDEX in rows of so many columns.
struct At {
  i64 row;
  int column;
  bool inside;
};

__device__ __forceinline__ At place(int rows, int columns) {
  i64 i = INDEX;
  if (i >= (i64)rows * columns) return At{0, 0, false};
  Split s = split(i, columns);
  return At{s.quotient, s.rest, true};
}

// geglu: y [M,H] = x[:,:H]·GELU(x[:,H:]).
KERNEL(256) geglu(float* y, int yStride, const float* x, int xStride, int rows, int columns) {
  At p = place(rows, columns);
  if (!p.inside) return;
  const float* v = x + p.row * xStride + p.column;
  y[p.row * yStride + p.column] = v[0] * gelu32(v[columns]);
}

KERNEL(256) geglu_back(float* dx, int dxStride, const float* dy, int dyStride, const float* x, int xStride, int rows, int columns) {
  At p = place(rows, columns);
  if (!p.inside) return;
  const float* v = x + p.row * xStride + p.column;
  float d = dy[p.row * dyStride + p.column], hidden = v[0], gate = v[columns];
  float* out = dx + p.row * dxStride + p.column;
  out[0] = d * gelu32(gate);
  out[columns] = (d * hidden) * gelu_slope32(gate);
}

// copy_rows: dst = src, or dst += acc·src.
KERNEL(256) copy_rows_32(float* dst, int dstStride, const float* src, int srcStride, int rows, int columns, float acc) {
  At p = place(rows, columns);
  if (!p.inside) return;
  float* d = dst + p.row * dstStride + p.column;
  float v = src[p.row * srcStride + p.column];
  *d = acc == 0 ? v : fmaf(acc, v, *d);
}

KERNEL(256) copy_rows_16(u16* dst, int dstStride, const u16* src, int srcStride, int rows, int columns) {
  At p = place(rows, columns);
  if (p.inside) dst[p.row * dstStride + p.column] = src[p.row * srcStride + p.column];
}

KERNEL(256) dropout(float* y, int yStride, const float* x, int xStride, int rows, int columns, DROP_PARAMS) {
  At p = place(rows, columns);
  if (!p.inside) return;
  float v = x[p.row * xStride + p.column];
  y[p.row * yStride + p.column] = dropStep ? dropped(DROP, (u64)p.row * columns + p.column, v) : v;
}

// column_sums leaves the sums of blocks of rows of each image,
// parts [images,blocks,C]. Grid: (blocks, ⌈C/128⌉, images).
KERNEL(128) column_sums(float* parts, const float* x, int xStride, int perImage, int columns, int block) {
  int c = blockIdx.y * 128 + threadIdx.x;
  if (c >= columns) return;
  int from = blockIdx.x * block;
  const float* p = x + ((i64)blockIdx.z * perImage) * xStride + c;
  float sum = 0;
  for (int r = from; r < least(from + block, perImage); r++) sum += p[(i64)r * xStride];
  parts[((i64)blockIdx.z * gridDim.x + blockIdx.x) * columns + c] = sum;
}

// column_merge: y [images,C] = Σ of the blocks in order + acc·y. Grid:
// (⌈C/128⌉, images).
KERNEL(128) column_merge(float* y, int yStride, const float* parts, int blocks, int columns, float acc) {
  int c = blockIdx.x * 128 + threadIdx.x;
  if (c >= columns) return;
  float sum = 0;
  for (int b = 0; b < blocks; b++) sum += parts[((i64)blockIdx.y * blocks + b) * columns + c];
  float* out = y + (i64)blockIdx.y * yStride + c;
  if (acc != 0) sum += acc * *out;
  *out = sum;
}

#define CAST(name, To, From) \
  KERNEL(256) name(To* dst, const From* src, i64 n) { \
    i64 i = INDEX; \
    if (i < n) narrow(dst[i], widen(src[i])); \
  }
CAST(cast_f32_f16, float, f16)
CAST(cast_f32_bf16, float, bf16)
CAST(cast_f16_f32, f16, float)
CAST(cast_f16_bf16, f16, bf16)
CAST(cast_bf16_f32, bf16, float)
CAST(cast_bf16_f16, bf16, f16)

// A row number outside its table is noted here for Sync: set, id, rows.
__device__ __forceinline__ bool bad_row(int* fault, int id, int rows) {
  if (id >= 0 && id < rows) return false;
  fault[1] = id;
  fault[2] = rows;
  fault[0] = 1;
  return true;
}

#define GATHER(name, T) \
  KERNEL(256) name(float* y, int yStride, const T* table, int tableStride, int tableRows, const int* ids, int rows, int columns, int* fault) { \
    At p = place(rows, columns); \
    if (!p.inside || bad_row(fault, ids[p.row], tableRows)) return; \
    y[p.row * yStride + p.column] = widen(table[(i64)ids[p.row] * tableStride + p.column]); \
  }
GATHER(gather_f32, float)
GATHER(gather_f16, f16)
GATHER(gather_bf16, bf16)

// scatter_add adds dy[i] to table[ids[i]] in the order of i, a thread a column.
KERNEL(128) scatter_add(float* table, int tableStride, int tableRows, const float* dy, int dyStride, const int* ids, int rows, int columns,
                        int* fault) {
  int c = blockIdx.x * 128 + threadIdx.x;
  if (c >= columns) return;
  for (int i = 0; i < rows; i++) {
    if (bad_row(fault, ids[i], tableRows)) return;
    table[(i64)ids[i] * tableStride + c] += dy[(i64)i * dyStride + c];
  }
}

// upsample stretches x [N,H,W,C] to y [N,tall,wide,C] by nearest neighbour.
KERNEL(256) upsample(float* y, const float* x, int images, int h, int w, int c, int tall, int wide) {
  i64 i = INDEX;
  if (i >= (i64)images * tall * wide * c) return;
  Split channel = split(i, c), column = split(channel.quotient, wide), row = split(column.quotient, tall);
  int from = (int)split((i64)row.rest * h, tall).quotient, at = (int)split((i64)column.rest * w, wide).quotient;
  y[i] = x[((row.quotient * h + from) * w + at) * c + channel.rest];
}

// upsample_back sums dy over the pixels that read each pixel of x.
KERNEL(256) upsample_back(float* dx, const float* dy, int images, int h, int w, int c, int tall, int wide, float beta) {
  i64 i = INDEX;
  if (i >= (i64)images * h * w * c) return;
  Split channel = split(i, c), column = split(channel.quotient, w), row = split(column.quotient, h);
  int ch = channel.rest, x = column.rest, y = row.rest, n = (int)row.quotient;
  // Rows v with floor(v·h/tall) = y.
  int v0 = (int)(((i64)y * tall + h - 1) / h), v1 = (int)(((i64)(y + 1) * tall + h - 1) / h);
  int u0 = (int)(((i64)x * wide + w - 1) / w), u1 = (int)(((i64)(x + 1) * wide + w - 1) / w);
  float sum = beta == 0 ? 0 : beta * dx[i];
  for (int v = v0; v < v1; v++)
    for (int u = u0; u < u1; u++) sum += dy[(((i64)n * tall + v) * wide + u) * c + ch];
  dx[i] = sum;
}

// pack turns a kernel [O,I,taps] into [O,taps,I].
template <class T>
__device__ __forceinline__ void pack(T* dst, const T* src, int o, int in, int taps) {
  i64 i = INDEX;
  if (i >= (i64)o * in * taps) return;
  Split channel = split(i, in), tap = split(channel.quotient, taps);
  dst[i] = src[(tap.quotient * in + channel.rest) * taps + tap.rest];
}
KERNEL(256) pack_32(u32* dst, const u32* src, int o, int in, int taps) { pack(dst, src, o, in, taps); }
KERNEL(256) pack_16(u16* dst, const u16* src, int o, int in, int taps) { pack(dst, src, o, in, taps); }
