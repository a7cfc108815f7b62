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

// Partial stores a part of a split sum: see reduce_splits.
struct Partial {
  float* p; // [rows,columns]
  int columns;
};

__device__ __forceinline__ void store(const Partial& e, int m, int n, float v) { e.p[(i64)m * e.columns + n] = v; }
