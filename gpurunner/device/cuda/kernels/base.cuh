// What every kernel starts from: the names of the types, conversions, and the
// mathematical functions with the coefficients of device/cpu/kernel.
//
// The sources compile for GPUs (NVRTC, -fmad=false) and, with LOWRANK_HOST, for
// the processor (../fake). Either way a product and a sum are rounded one by
// one unless fmaf is written, so both give the same bits.
#pragma once

#ifdef LOWRANK_HOST
#include "host.h"
#define OUT_OF_LINE __attribute__((noinline))
#define DYNAMIC_SHARED(T, name) T* name = (T*)fake::dynamic_shared()
#else
#define OUT_OF_LINE __noinline__
#define DYNAMIC_SHARED(T, name) extern __shared__ __align__(16) T name[]
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// KERNEL(threads) name(arguments): an entry for blocks of that many threads.
// Arguments are 4 or 8 bytes each; every 8-byte one is an address.
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
// KERNEL_OF keeps registers few enough for so many blocks at once on a
// multiprocessor, too.
#define KERNEL_OF(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)

__device__ __forceinline__ int ceilDiv(int a, int b) { return (a + b - 1) / b; }
__device__ __forceinline__ int least(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int most(int a, int b) { return a > b ? a : b; }

// Split is i as quotient and rest of a division. Numbers of 64 bits are divided
// by a hundred instructions, so those that fit 32 bits are not.
struct Split {
  i64 quotient;
  int rest;
};

__device__ __forceinline__ Split split(i64 i, int by) {
  if ((u64)i >> 32) return Split{i / by, (int)(i % by)};
  u32 q = (u32)i / (u32)by;
  return Split{(i64)q, (int)((u32)i - q * (u32)by)};
}

// The half types as they lie in memory.
struct f16 { u16 bits; };
struct bf16 { u16 bits; };

#include "intrinsics.cuh"

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(f16 x) { return f16_to_f32(x.bits); }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// narrow rounds to nearest even; NaN stays NaN.
__device__ __forceinline__ void narrow(float& y, float x) { y = x; }
__device__ __forceinline__ void narrow(f16& y, float x) { y.bits = f32_to_f16(x); }
__device__ __forceinline__ void narrow(bf16& y, float x) {
  u32 b = __float_as_uint(x);
  if ((b & 0x7fffffff) > 0x7f800000)
    y.bits = (u16)(b >> 16) | 0x40;
  else
    y.bits = (u16)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

// exp32 is e^x with an error below two units in the last place, and 0 below
// -87: denormals are worth nothing to a softmax.
__device__ __forceinline__ float exp32(float x) {
  if (x < -87.0f) return 0;
  if (!(x <= 88.72283f)) return x + __uint_as_float(0x7f800000); // infinite, or NaN
  float t = x * 1.44269504f + 12582912.0f;
  float n = t - 12582912.0f;
  float r = x - n * 0.693359375f;
  r -= n * -2.12194440e-4f;
  float q = 0.00138382823f;
  q = q * r + 0.00836929772f;
  q = q * r + 0.0416680872f;
  q = q * r + 0.166665152f;
  q = q * r + 0.49999994f;
  float p = q * (r * r) + r;
  p += 1;
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(t) << 23));
}

// one_plus_erf32 is 1 + erf(x) with all its digits where that is near 0.
__device__ __forceinline__ float one_plus_erf32(float x) {
  float z = fabsf(x);
  if (z < 0.8125f) {
    float s = x * x;
    float q = -0.00064976624f;
    q = q * s + 0.00508052483f;
    q = q * s + -0.0268191956f;
    q = q * s + 0.112831064f;
    q = q * s + -0.376126051f;
    q = q * s + 0.128379166f;
    return 1 + (q * x + x);
  }
  if (z > 5) return x < 0 ? 0 : 2;
  float q = 1.29460363e-06f;
  q = q * z + -3.93081609e-05f;
  q = q * z + 0.000540790788f;
  q = q * z + -0.00450487668f;
  q = q * z + 0.0257293135f;
  q = q * z + -0.108933747f;
  q = q * z + -0.632956624f;
  q = q * z + -1.12962615f;
  q = q * z + 0.000183805867f;
  float erfc = exp32(q);
  return x < 0 ? erfc : 2 - erfc;
}

__device__ __forceinline__ float sigmoid32(float x) { return 1 / (1 + exp32(-x)); }

// log32 is the natural logarithm of a normal positive number.
__device__ __forceinline__ float log32(float u) {
  u32 bits = __float_as_uint(u);
  int e = (int)(bits - 0x3f3504f3u) >> 23; // u = m·2^e, m in [√½,√2)
  float m = __uint_as_float(bits - ((u32)e << 23));
  float f = m - 1;
  float s = f / (2 + f);
  float s2 = s * s;
  float q = 0.242772192f;
  q = q * s2 + 0.284988284f;
  q = q * s2 + 0.400009722f;
  q = q * s2 + 0.666666627f;
  float p = (q * s2) * s;
  float n = (float)e;
  p += n * -2.12194440e-4f;
  p += 2 * s;
  return p + n * 0.693359375f;
}

// Activations, numbered as device.Activation.
enum { IDENTITY, SILU, GELU, GELU_TANH, QUICK_GELU };

__device__ __forceinline__ float gelu32(float x) { return (x * 0.5f) * one_plus_erf32(x * 0.70710678f); }

// gelu_slope32 is Φ(x) + x·φ(x).
__device__ __forceinline__ float gelu_slope32(float x) {
  float phi = exp32((x * -0.5f) * x) * 0.39894228f;
  return x * phi + 0.5f * one_plus_erf32(x * 0.70710678f);
}

// gated_slope is the derivative of x·σ(w(x)): s = σ(w), dw = w'.
__device__ __forceinline__ float gated_slope(float x, float s, float dw) {
  return ((x * dw) * s) * (1 - s) + s;
}

// gelu_tanh_arg is w with (1+tanh u)/2 = σ(w), and w'.
__device__ __forceinline__ float gelu_tanh_arg(float x, float& dw) {
  float s = x * x;
  dw = (0.134145f * s + 1) * 1.59576912f;
  return (0.044715f * s + 1) * (1.59576912f * x);
}

__device__ __forceinline__ float activate(int f, float x) {
  float dw;
  switch (f) {
    case SILU: return x / (1 + exp32(-x));
    case GELU: return gelu32(x);
    case GELU_TANH: return x / (1 + exp32(-gelu_tanh_arg(x, dw)));
    case QUICK_GELU: return x / (1 + exp32(x * -1.702f));
  }
  return x;
}

// slope is the derivative of activate.
__device__ __forceinline__ float slope(int f, float x) {
  switch (f) {
    case SILU: return gated_slope(x, sigmoid32(x), 1);
    case GELU: return gelu_slope32(x);
    case GELU_TANH: {
      float dw, w = gelu_tanh_arg(x, dw);
      return gated_slope(x, sigmoid32(w), dw);
    }
    case QUICK_GELU: return gated_slope(x, sigmoid32(x * 1.702f), 1.702f);
  }
  return 1;
}

// Quad is four numbers of a stream.
struct Quad { u32 word[4]; };

// philox is Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC11), at the counter (c0, c1, c2, c3).
__device__ __forceinline__ Quad philox(u32 k0, u32 k1, u32 c0, u32 c1, u32 c2, u32 c3) {
  for (int i = 0; i < 10; i++) {
    u64 p0 = (u64)c0 * 0xD2511F53u, p1 = (u64)c2 * 0xCD9E8D57u;
    u32 h1 = (u32)(p1 >> 32) ^ c1 ^ k0, h0 = (u32)(p0 >> 32) ^ c3 ^ k1;
    c0 = h1, c1 = (u32)p1, c2 = h0, c3 = (u32)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  Quad q;
  q.word[0] = c0, q.word[1] = c1, q.word[2] = c2, q.word[3] = c3;
  return q;
}

// Drop is a device.Dropout: step is null where there is none.
struct Drop {
  const int* step;
  u32 below; // numbers under it drop their element
  float scale;
  u32 keyLow, keyHigh, stream, micro;
};

#define DROP_PARAMS \
  const int *dropStep, u32 dropBelow, float dropScale, u32 dropKeyLow, u32 dropKeyHigh, u32 dropStream, u32 dropMicro
#define DROP Drop{dropStep, dropBelow, dropScale, dropKeyLow, dropKeyHigh, dropStream, dropMicro}

// dropped applies d to the element with number i.
__device__ __forceinline__ float dropped(const Drop& d, u64 i, float x) {
  Quad q = philox(d.keyLow, d.keyHigh, d.stream, (u32)*d.step, d.micro, (u32)(i / 4));
  u32 at = (u32)i & 3;
  u32 word = at < 2 ? (at == 0 ? q.word[0] : q.word[1]) : (at == 2 ? q.word[2] : q.word[3]);
  return word >= d.below ? x * d.scale : 0;
}

// Sums over a warp, every lane getting the result, in the same order for all.
__device__ __forceinline__ float warp_sum(float x) {
  for (int o = 16; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
  return x;
}
__device__ __forceinline__ double warp_sum(double x) {
  for (int o = 16; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (int o = 16; o > 0; o /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
  return x;
}

// block_sum adds x over a block of up to 1024 threads, a multiple of 32; every
// thread gets the result. part is shared memory for 32 numbers.
template <class T>
__device__ __forceinline__ T block_sum(T x, T* part) {
  x = warp_sum(x);
  __syncthreads(); // the part of an earlier sum has been read
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = 0;
  for (u32 i = 0; i < blockDim.x / 32; i++) sum += part[i];
  return sum;
}
