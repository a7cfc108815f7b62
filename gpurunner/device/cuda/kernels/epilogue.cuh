// What happens to an element of a product before it is stored: see
// device.Epilogue.
#pragma once
#include "base.cuh"

struct Epilogue {
  float alpha;
  const float* bias;   // [N] or null
  const float* vector; // [M/perImage, N], rows vectorStride apart, or null
  int vectorStride, perImage;
  int act;
  Drop drop;
  const float* residual; // [M,N], rows residualStride apart, or null
  int residualStride;
  float beta;
  float* y; // [M,N], rows yStride apart
  int yStride;
  int columns; // N
};

#define EPILOGUE_PARAMS \
  float alpha, const float *bias, const float *vector, int vectorStride, int perImage, int act, DROP_PARAMS, \
      const float *residual, int residualStride, float beta, float *y, int yStride
#define EPILOGUE(n) \
  Epilogue { alpha, bias, vector, vectorStride, perImage, act, DROP, residual, residualStride, beta, y, yStride, n }

// What few products do is kept out of line: it is written out for every element
// of a thread otherwise.
__device__ OUT_OF_LINE float activated(int f, float x) { return activate(f, x); }
__device__ OUT_OF_LINE float thinned(const int* step, u32 below, float scale, u32 keyLow, u32 keyHigh, u32 stream, u32 micro, u64 i, float x) {
  return dropped(Drop{step, below, scale, keyLow, keyHigh, stream, micro}, i, x);
}

// store finishes element (m, n), v being its sum.
__device__ __forceinline__ void store(const Epilogue& e, int m, int n, float v) {
  if (e.alpha != 1) v *= e.alpha;
  if (e.bias) v += e.bias[n];
  if (e.vector) v += e.vector[(i64)(m / e.perImage) * e.vectorStride + n];
  if (e.act != IDENTITY) v = activated(e.act, v);
  const Drop& d = e.drop;
  if (d.step) v = thinned(d.step, d.below, d.scale, d.keyLow, d.keyHigh, d.stream, d.micro, (u64)m * e.columns + n, v);
  if (e.residual) v += e.residual[(i64)m * e.residualStride + n];
  float* y = e.y + (i64)m * e.yStride + n;
  if (e.beta != 0) v += e.beta * *y;
  *y = v;
}

__device__ OUT_OF_LINE Four activated(int f, Four x) {
  for (int j = 0; j < 4; j++) x.v[j] = activate(f, x.v[j]);
  return x;
}
__device__ OUT_OF_LINE Four thinned(const int* step, u32 below, float scale, u32 keyLow, u32 keyHigh, u32 stream, u32 micro, u64 i, Four x) {
  Quad q = philox(keyLow, keyHigh, stream, (u32)*step, micro, (u32)(i / 4));
  for (int j = 0; j < 4; j++) x.v[j] = q.word[j] >= below ? x.v[j] * scale : 0;
  return x;
}

__device__ __forceinline__ bool runs_of_four(const void* p, int stride) { return ((u64)p & 15) == 0 && stride % 4 == 0; }

// in_quads says that every run of four columns that begins at a multiple of four
// lies in aligned memory, and within the matrix.
__device__ __forceinline__ bool in_quads(const Epilogue& e) {
  return e.columns % 4 == 0 && runs_of_four(e.y, e.yStride) && runs_of_four(e.bias, 0) && runs_of_four(e.vector, e.vectorStride) &&
         runs_of_four(e.residual, e.residualStride);
}

__device__ __forceinline__ void add_to(Four& x, float f, const float* p) {
  Four y = load4(p);
#pragma unroll
  for (int j = 0; j < 4; j++) x.v[j] += f == 1 ? y.v[j] : f * y.v[j];
}

// store finishes elements (m, n) … (m, n+3), in the same order and rounding.
__device__ __forceinline__ void store(const Epilogue& e, int m, int n, Four v) {
  if (e.alpha != 1)
    for (int j = 0; j < 4; j++) v.v[j] *= e.alpha;
  if (e.bias) add_to(v, 1, e.bias + n);
  if (e.vector) add_to(v, 1, e.vector + (i64)(m / e.perImage) * e.vectorStride + n);
  if (e.act != IDENTITY) v = activated(e.act, v);
  const Drop& d = e.drop;
  if (d.step) v = thinned(d.step, d.below, d.scale, d.keyLow, d.keyHigh, d.stream, d.micro, (u64)m * e.columns + n, v);
  if (e.residual) add_to(v, 1, e.residual + (i64)m * e.residualStride + n);
  float* y = e.y + (i64)m * e.yStride + n;
  if (e.beta != 0) add_to(v, e.beta, y);
  store16(y, v);
}

// Gradient stores element (o, tap·C+c) of a convolution's weight gradient at
// [o,c,tap].
struct Gradient {
  float* dw;
  int taps, channels;
  float beta;
};

__device__ __forceinline__ void store(const Gradient& e, int o, int n, float v) {
  int tap = n / e.channels, c = n % e.channels;
  float* p = e.dw + ((i64)o * e.channels + c) * e.taps + tap;
  if (e.beta != 0) v += e.beta * *p;
  *p = v;
}

__device__ __forceinline__ bool in_quads(const Gradient&) { return false; }
__device__ __forceinline__ void store(const Gradient&, int, int, Four) {}

// Partial stores a part of a split sum: see reduce_splits.
struct Partial {
  float* p; // [rows,columns]
  int columns;
};

__device__ __forceinline__ void store(const Partial& e, int m, int n, float v) { e.p[(i64)m * e.columns + n] = v; }
__device__ __forceinline__ bool in_quads(const Partial& e) { return e.columns % 4 == 0; }
__device__ __forceinline__ void store(const Partial& e, int m, int n, Four v) { store16(e.p + (i64)m * e.columns + n, v); }
