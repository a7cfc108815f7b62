// The only place with inline PTX: each instruction that C++ cannot say is a
// function here, with a twin for the processor that says what it does.
#pragma once

#ifdef LOWRANK_HOST

inline float f16_to_f32(u16 h) {
  u32 sign = (u32)(h & 0x8000) << 16, exp = h >> 10 & 31, frac = h & 0x3ff;
  if (exp == 31) return __uint_as_float(sign | 0xffu << 23 | frac << 13 | (frac ? 1u << 22 : 0));
  if (exp == 0) { // zero, denormal: frac·2⁻²⁴ is exact
    float v = (float)frac * (1.0f / (1 << 24));
    return __uint_as_float(sign | __float_as_uint(v));
  }
  return __uint_as_float(sign | (exp + 112) << 23 | frac << 13);
}

inline u16 f32_to_f16(float f) {
  u32 b = __float_as_uint(f), sign = b >> 16 & 0x8000;
  b &= 0x7fffffff;
  if (b > 0x7f800000) return 0x7fff;
  if (b >= 0x477ff000) return (u16)(sign | 0x7c00); // 65520 and more
  if (b < 0x38800000) { // below the normal numbers: a multiple of 2⁻²⁴, by the adder's rounding
    float m = __uint_as_float(b) * (float)(1 << 24);
    m = (m + 8388608.0f) - 8388608.0f;
    return (u16)(sign | (u32)m);
  }
  b -= 112u << 23;
  b += 0xfff + (b >> 13 & 1);
  return (u16)(sign | b >> 13);
}

#else

__device__ __forceinline__ float f16_to_f32(u16 h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}

__device__ __forceinline__ u16 f32_to_f16(float f) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}

#endif
