// Operands of products: how element (i, k) is found, i being a row of A or a
// column of B and k the index that is summed over. Elements outside are 0.
//
// An operand splits finding into outer(i), done once, and inner(k), which step
// moves on to k, by terms further than it was, so that the divisions of a
// convolution stay out of the inner loop.
// along_k says that neighbouring k are neighbours in memory; else i are. address
// is the element's place, or null where it is outside.
#pragma once
#include "base.cuh"

// Matrix is [count, K] with rows stride apart, or, not along k, [K, count].
template <class T, bool alongK>
struct Matrix {
  typedef T Element;
  static const bool along_k = alongK;
  const T* p;
  int count;
  i64 stride;

  struct Outer { const T* p; };
  typedef int Inner; // -1: outside
  __device__ __forceinline__ Outer outer(int i) const {
    return Outer{i < count ? p + (alongK ? i * stride : i) : 0};
  }
  __device__ __forceinline__ Inner inner(int k, int end) const { return k < end ? k : -1; }
  __device__ __forceinline__ void step(Inner& in, int k, int, int end) const { in = inner(k, end); }
  __device__ __forceinline__ const T* address(Outer o, Inner k) const {
    if (!o.p || k < 0) return 0;
    return alongK ? o.p + k : o.p + k * stride;
  }
  __device__ __forceinline__ float at(Outer o, Inner k) const {
    const T* p = address(o, k);
    return p ? widen(*p) : 0;
  }
  __device__ __forceinline__ const T* base() const { return p; }
};

// Geometry is a device.ConvGeom; H×W is stretched to tall×wide before the
// kernel slides over it.
struct Geometry {
  int images, h, w, c, o, kh, kw, stride, top, left, tall, wide, outH, outW;
};

// walk moves (tap, channel) on by so many channels.
template <class Inner>
__device__ __forceinline__ void walk(Inner& in, int& channel, int by, int channels, int kw) {
  channel += by;
  while (channel >= channels) {
    channel -= channels;
    if (++in.kx == kw) in.kx = 0, in.ky++;
  }
}

#define GEOMETRY_PARAMS \
  int images, int h, int w, int c, int o, int kh, int kw, int stride, int top, int left, int tall, int wide, int outH, int outW
#define GEOMETRY Geometry{images, h, w, c, o, kh, kw, stride, top, left, tall, wide, outH, outW}

// Pixels is the picture x [N,H,W,C] of a convolution as a matrix: i is an
// output pixel, k is (tap, c).
struct Pixels {
  typedef float Element;
  static const bool along_k = true;
  const float* x;
  Geometry g;

  struct Outer { int image, y, x; }; // image: its first pixel
  struct Inner { int ky, kx, c; };
  __device__ __forceinline__ Outer outer(int i) const {
    int image = i / (g.outH * g.outW), at = i - image * (g.outH * g.outW), y = at / g.outW;
    if (image >= g.images) return Outer{0, -(1 << 29), 0};
    return Outer{image * (g.h * g.w), y * g.stride - g.top, (at - y * g.outW) * g.stride - g.left};
  }
  __device__ __forceinline__ Inner inner(int k, int end) const {
    if (k >= end) return Inner{-(1 << 29), 0, 0};
    int tap = k / g.c;
    return Inner{tap / g.kw, tap % g.kw, k - tap * g.c};
  }
  __device__ __forceinline__ void step(Inner& in, int k, int by, int end) const {
    if (k >= end)
      in.ky = -(1 << 29);
    else
      walk(in, in.c, by, g.c, g.kw);
  }
  __device__ __forceinline__ const float* address(Outer o, Inner k) const {
    int y = o.y + k.ky, x0 = o.x + k.kx;
    if (y < 0 || y >= g.tall || x0 < 0 || x0 >= g.wide) return 0;
    if (g.tall == 2 * g.h && g.wide == 2 * g.w) { // all that a UNet has, but for odd sizes
      y >>= 1;
      x0 >>= 1;
    } else if (g.tall != g.h || g.wide != g.w) {
      y = (int)((i64)y * g.h / g.tall);
      x0 = (int)((i64)x0 * g.w / g.wide);
    }
    return x + (i64)(o.image + y * g.w + x0) * g.c + k.c;
  }
  __device__ __forceinline__ float at(Outer o, Inner k) const {
    const float* p = address(o, k);
    return p ? *p : 0;
  }
};

// PixelsOfTaps is Pixels with the roles changed, for the gradient of the
// weights: i is (tap, c), k an output pixel.
struct PixelsOfTaps {
  typedef float Element;
  static const bool along_k = false;
  Pixels pixels;

  typedef Pixels::Inner Outer;
  typedef Pixels::Outer Inner;
  __device__ __forceinline__ Outer outer(int i) const {
    return pixels.inner(i, pixels.g.kh * pixels.g.kw * pixels.g.c);
  }
  __device__ __forceinline__ Inner inner(int k, int end) const {
    return k < end ? pixels.outer(k) : Inner{0, -(1 << 29), 0};
  }
  __device__ __forceinline__ void step(Inner& in, int k, int, int end) const { in = inner(k, end); }
  __device__ __forceinline__ const float* address(Outer o, Inner k) const { return pixels.address(k, o); }
  __device__ __forceinline__ float at(Outer o, Inner k) const { return pixels.at(k, o); }
};

// Gradients is dy [N,OutH,OutW,O] as backward-data sees it: i is a pixel of x,
// k is (tap, o), the element dy at the output that reads the pixel there.
struct Gradients {
  typedef float Element;
  static const bool along_k = true;
  const float* dy;
  Geometry g;

  struct Outer { int image, y, x; }; // image: its first pixel of dy
  struct Inner { int ky, kx, o; };
  __device__ __forceinline__ Outer outer(int i) const {
    int image = i / (g.h * g.w), at = i - image * (g.h * g.w), y = at / g.w;
    if (image >= g.images) return Outer{0, -(1 << 29), 0};
    return Outer{image * (g.outH * g.outW), y + g.top, at - y * g.w + g.left};
  }
  __device__ __forceinline__ Inner inner(int k, int end) const {
    if (k >= end) return Inner{1 << 29, 0, 0};
    int tap = k / g.o;
    return Inner{tap / g.kw, tap % g.kw, k - tap * g.o};
  }
  __device__ __forceinline__ void step(Inner& in, int k, int by, int end) const {
    if (k >= end)
      in.ky = 1 << 29;
    else
      walk(in, in.o, by, g.o, g.kw);
  }
  __device__ __forceinline__ const float* address(Outer p, Inner k) const {
    int y = p.y - k.ky, x = p.x - k.kx;
    if (y < 0 || x < 0) return 0;
    if (g.stride == 2) {
      if ((y | x) & 1) return 0;
      y >>= 1;
      x >>= 1;
    } else if (g.stride != 1) {
      if (y % g.stride || x % g.stride) return 0;
      y /= g.stride;
      x /= g.stride;
    }
    if (y >= g.outH || x >= g.outW) return 0;
    return dy + (i64)(p.image + y * g.outW + x) * g.o + k.o;
  }
  __device__ __forceinline__ float at(Outer o, Inner k) const {
    const float* p = address(o, k);
    return p ? *p : 0;
  }
};

// Mirrored is the kernel [O,taps,C] as backward-data reads it: i is an input
// channel, k is (tap, o).
template <class T>
struct Mirrored {
  typedef T Element;
  static const bool along_k = false;
  const T* w;
  int c, o, taps;

  typedef int Outer; // -1: outside
  struct Inner { int tap, o; }; // tap -1: outside
  __device__ __forceinline__ Outer outer(int i) const { return i < c ? i : -1; }
  __device__ __forceinline__ Inner inner(int k, int end) const {
    if (k >= end) return Inner{-1, 0};
    return Inner{k / o, k % o};
  }
  __device__ __forceinline__ void step(Inner& in, int k, int by, int end) const {
    in.o += by;
    while (in.o >= o) in.o -= o, in.tap++;
    if (k >= end) in.tap = -1;
  }
  __device__ __forceinline__ const T* address(Outer i, Inner k) const {
    return i < 0 || k.tap < 0 ? 0 : w + (i64)(k.o * taps + k.tap) * c + i;
  }
  __device__ __forceinline__ float at(Outer i, Inner k) const {
    const T* p = address(i, k);
    return p ? widen(*p) : 0;
  }
  __device__ __forceinline__ const T* base() const { return w; }
};
