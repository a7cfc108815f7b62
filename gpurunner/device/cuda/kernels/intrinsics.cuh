// The only place with inline PTX: each instruction that C++ cannot say is a
// function here, with a twin for the processor that says what it does.
//
//   f16_to_f32, f32_to_f16   conversions, to nearest even
//   pack                     two floats rounded into one register of halves
//   mma                      16×8 += 16×16 · 16×8 on a tensor core, by a warp
//   ldmatrix                 four 8×8 tiles of halves from shared memory, by a warp
//   copy_async, …_wait       16 bytes to shared memory, behind the thread's back
//   exp2_fast                2^x to about two units in the last place
//   load4, store16           16 aligned bytes of global memory
#pragma once

struct __align__(16) Four {
  float v[4];
};
struct __align__(16) Sixteen {
  u32 v[4];
};

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

inline u16 f32_to_bf16(float f) {
  u32 b = __float_as_uint(f);
  if ((b & 0x7fffffff) > 0x7f800000) return (u16)(b >> 16) | 0x40;
  return (u16)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

inline u32 pack(f16, float low, float high) { return f32_to_f16(low) | (u32)f32_to_f16(high) << 16; }
inline u32 pack(bf16, float low, float high) { return f32_to_bf16(low) | (u32)f32_to_bf16(high) << 16; }

// multiply takes each lane's six registers and leaves its four sums, in the
// layout of mma.m16n8k16.
inline void multiply(fake::Lanes& lanes, int isBF16) {
  float a[16][16], b[16][8];
  auto wide = [&](u32 two, int half) {
    u16 h = (u16)(two >> (16 * half));
    return isBF16 ? __uint_as_float((u32)h << 16) : f16_to_f32(h);
  };
  for (int lane = 0; lane < 32; lane++) {
    u32 r[6];
    memcpy(r, lanes[lane], sizeof r);
    int group = lane / 4, pair = lane % 4 * 2;
    for (int h = 0; h < 2; h++) {
      a[group][pair + h] = wide(r[0], h);
      a[group + 8][pair + h] = wide(r[1], h);
      a[group][pair + 8 + h] = wide(r[2], h);
      a[group + 8][pair + 8 + h] = wide(r[3], h);
      b[pair + h][group] = wide(r[4], h);
      b[pair + 8 + h][group] = wide(r[5], h);
    }
  }
  float d[16][8] = {};
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 16; k++)
      for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < 32; lane++) {
    int group = lane / 4, pair = lane % 4 * 2;
    float out[4] = {d[group][pair], d[group][pair + 1], d[group + 8][pair], d[group + 8][pair + 1]};
    memcpy(lanes[lane], out, sizeof out);
  }
}

// tiles takes each lane's address of a row and leaves its four registers.
inline void tiles(fake::Lanes& lanes, int transposed) {
  u16 m[4][8][8];
  for (int i = 0; i < 32; i++) {
    const void* row;
    memcpy(&row, lanes[i], sizeof row);
    memcpy(m[i / 8][i % 8], row, 16);
  }
  for (int lane = 0; lane < 32; lane++) {
    int g = lane / 4, p = lane % 4 * 2;
    u32 r[4];
    for (int j = 0; j < 4; j++)
      r[j] = transposed ? m[j][p][g] | (u32)m[j][p + 1][g] << 16 : m[j][g][p] | (u32)m[j][g][p + 1] << 16;
    memcpy(lanes[lane], r, sizeof r);
  }
}

inline void multiply_add(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], int isBF16) {
  u32 r[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  float d[4];
  memcpy(d, fake::collective(r, sizeof r, multiply, isBF16, "mma"), sizeof d);
  for (int i = 0; i < 4; i++) c[i] += d[i];
}
inline void mma(f16, float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { multiply_add(c, a, b, 0); }
inline void mma(bf16, float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { multiply_add(c, a, b, 1); }

inline void ldmatrix(u32 (&r)[4], const void* row) {
  fake::aligned(row, 16, "ldmatrix");
  memcpy(r, fake::collective(&row, sizeof row, tiles, 0, "ldmatrix"), sizeof r);
}
inline void ldmatrix_transposed(u32 (&r)[4], const void* row) {
  fake::aligned(row, 16, "ldmatrix");
  memcpy(r, fake::collective(&row, sizeof row, tiles, 1, "ldmatrix.trans"), sizeof r);
}

// The copy happens when it is waited for, so that a missing wait shows.
inline void copy_async(void* to, const void* from, bool present) {
  fake::aligned(to, 16, "cp.async");
  if (present) fake::aligned(from, 16, "cp.async");
  fake::later(to, present ? from : nullptr, 16);
}
inline void copy_async_wait() { fake::arrive(); }

inline float exp2_fast(float x) { return exp2f(x); }

inline Four load4(const float* p) {
  fake::aligned(p, 16, "load4");
  Four f;
  memcpy(&f, p, 16);
  return f;
}

template <class S>
inline void store16(void* p, const S& s) {
  static_assert(sizeof s == 16, "16 bytes");
  fake::aligned(p, 16, "store16");
  memcpy(p, &s, 16);
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

__device__ __forceinline__ u32 pack(f16, float low, float high) { return f32_to_f16(low) | (u32)f32_to_f16(high) << 16; }

__device__ __forceinline__ void ldmatrix(u32 (&r)[4], const void* row) {
  u32 at = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ void ldmatrix_transposed(u32 (&r)[4], const void* row) {
  u32 at = (u32)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ Four load4(const float* p) {
  Four f;
  asm volatile("ld.global.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(f.v[0]), "=f"(f.v[1]), "=f"(f.v[2]), "=f"(f.v[3]) : "l"(__cvta_generic_to_global(p)));
  return f;
}

template <class S>
__device__ __forceinline__ void store16(void* p, const S& s) {
  *(S*)p = s;
}

#if __CUDA_ARCH__ >= 800

__device__ __forceinline__ u32 pack(bf16, float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

__device__ __forceinline__ void mma(f16, float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma(bf16, float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void copy_async(void* to, const void* from, bool present) {
  u32 at = (u32)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(__cvta_generic_to_global(from)), "r"(present ? 16 : 0) : "memory");
}

__device__ __forceinline__ void copy_async_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#else // Turing: half the depth at once, no bf16, no asynchronous copies

__device__ __forceinline__ void mma(f16, float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[2]), "r"(a[3]), "r"(b[1]));
}

__device__ __forceinline__ void copy_async(void* to, const void* from, bool present) {
  Sixteen s = {};
  if (present) s = *(const Sixteen*)from;
  *(Sixteen*)to = s;
}

__device__ __forceinline__ void copy_async_wait() {}

#endif
#endif
