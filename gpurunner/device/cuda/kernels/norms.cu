// Group norm and layer norm, forward and backward.
//
// Group norm goes over blocks of pixels: each leaves, per channel, its mean and
// Σ(x−mean)², which are merged in float64 in order (Chan, Golub and LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances",
// 1979): an image's E[x²]−mean² would lose everything to a large mean.
#include "base.cuh"

// A thread of norm_sums owns a channel. sums is [N,blocks,2,C].
// Grid: (blocks, ⌈C/128⌉, N).
KERNEL(128) norm_sums(float* sums, const float* x, int pixels, int channels, int block) {
  int c = blockIdx.y * 128 + threadIdx.x, n = blockIdx.z;
  if (c >= channels) return;
  int from = blockIdx.x * block, rows = least(block, pixels - from);
  const float* p = x + ((i64)n * pixels + from) * channels + c;
  float mean = 0, squares = 0;
  for (int r = 0; r < rows; r++) mean += p[(i64)r * channels];
  mean *= 1 / (float)rows;
  for (int r = 0; r < rows; r++) {
    float d = p[(i64)r * channels] - mean;
    squares = fmaf(d, d, squares);
  }
  float* out = sums + ((i64)n * gridDim.x + blockIdx.x) * 2 * channels + c;
  out[0] = mean;
  out[channels] = squares;
}

// norm_merge turns the sums of a group into its statistics [N,Groups,2]. Grid:
// (Groups, N).
KERNEL(128) norm_merge(float* stats, const float* sums, int pixels, int channels, int groups, int block, int blocks, float eps) {
  __shared__ double part[32];
  int group = blockIdx.x, n = blockIdx.y, per = channels / groups;
  const float* s = sums + (i64)n * blocks * 2 * channels + group * per;
  double count = (double)pixels * per, mean = 0, squares = 0;
  for (int i = threadIdx.x; i < blocks * per; i += 128) {
    int b = i / per, rows = least(block, pixels - b * block);
    mean += (double)s[(i64)b * 2 * channels + i % per] * rows;
  }
  mean = block_sum(mean, part) / count;
  for (int i = threadIdx.x; i < blocks * per; i += 128) {
    int b = i / per, rows = least(block, pixels - b * block);
    const float* p = s + (i64)b * 2 * channels + i % per;
    double off = (double)p[0] - mean;
    squares += (double)p[channels] + off * off * rows;
  }
  squares = block_sum(squares, part);
  if (threadIdx.x == 0) {
    float* out = stats + ((i64)n * groups + group) * 2;
    out[0] = (float)mean;
    out[1] = (float)(1 / sqrt(squares / count + (double)eps));
  }
}

// Affine is the norm of a channel as a·x+b.
struct Affine {
  float a, b;
};

__device__ __forceinline__ Affine affine(const float* stats, float gamma, float beta) {
  float a = stats[1] * gamma;
  return Affine{a, beta - stats[0] * a};
}

// Element is where thread's elements begin: run of them, of one pixel, with run 4 in
// aligned memory. Finding a channel's group takes more instructions than its norm.
struct Element {
  i64 at;
  int channel, place; // in its group
  i64 group;
};

__device__ __forceinline__ Element element(int run, int pixels, int channels, int groups) {
  Element e;
  e.at = ((i64)blockIdx.x * 256 + threadIdx.x) * run;
  Split pixel = split(e.at, channels), group = split(pixel.rest, channels / groups);
  e.channel = pixel.rest;
  e.place = group.rest;
  e.group = split(pixel.quotient, pixels).quotient * groups + group.quotient;
  return e;
}

__device__ __forceinline__ void take(Four& f, const float* p, int run) {
  if (run == 4)
    f = load4(p);
  else
    f.v[0] = *p;
}

__device__ __forceinline__ void leave(float* p, const Four& f, int run) {
  if (run == 4)
    store16(p, f);
  else
    *p = f.v[0];
}

// norm_apply maps x to y, a thread a run of elements.
KERNEL(256) norm_apply(float* y, const float* x, const float* stats, const float* gamma, const float* beta, int images, int pixels,
                       int channels, int groups, int silu, int run) {
  Element e = element(run, pixels, channels, groups);
  if (e.at >= (i64)images * pixels * channels) return;
  Four v, g, b;
  take(v, x + e.at, run);
  take(g, gamma + e.channel, run);
  take(b, beta + e.channel, run);
  const float* s = stats + e.group * 2;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    if (j >= run) break;
    Affine f = affine(s, g.v[j], b.v[j]);
    float z = fmaf(f.a, v.v[j], f.b);
    v.v[j] = silu ? activate(SILU, z) : z;
    if (++e.place == channels / groups) e.place = 0, s += 2;
  }
  leave(y + e.at, v, run);
}

// dz is the gradient before the activation.
__device__ __forceinline__ float dz(Affine f, float x, float dy, int silu) {
  return silu ? dy * slope(SILU, fmaf(f.a, x, f.b)) : dy;
}

// norm_back_sums leaves Σdz and Σdz·x̂ of each block of pixels, [N,blocks,2,C].
// Grid: (blocks, ⌈C/128⌉, N).
KERNEL(128) norm_back_sums(float* sums, const float* dy, const float* x, const float* stats, const float* gamma, const float* beta,
                           int pixels, int channels, int groups, int block, int silu) {
  int c = blockIdx.y * 128 + threadIdx.x, n = blockIdx.z;
  if (c >= channels) return;
  int from = blockIdx.x * block, rows = least(block, pixels - from);
  i64 at = ((i64)n * pixels + from) * channels + c;
  const float* s = stats + ((i64)n * groups + c / (channels / groups)) * 2;
  Affine f = affine(s, gamma[c], beta[c]);
  float sum = 0, sumX = 0;
  for (int r = 0; r < rows; r++) {
    float v = x[at + (i64)r * channels], d = dz(f, v, dy[at + (i64)r * channels], silu);
    sum += d;
    sumX = fmaf(d, (v - s[0]) * s[1], sumX);
  }
  float* out = sums + ((i64)n * gridDim.x + blockIdx.x) * 2 * channels + c;
  out[0] = sum;
  out[channels] = sumX;
}

// norm_back_channels adds the blocks of an image: totals is [N,2,C]. Grid:
// (⌈C/128⌉, N).
KERNEL(128) norm_back_channels(float* totals, const float* sums, int channels, int blocks) {
  int c = blockIdx.x * 128 + threadIdx.x, n = blockIdx.y;
  if (c >= channels) return;
  double sum = 0, sumX = 0;
  for (int b = 0; b < blocks; b++) {
    const float* p = sums + ((i64)n * blocks + b) * 2 * channels + c;
    sum += p[0];
    sumX += p[channels];
  }
  totals[(i64)n * 2 * channels + c] = (float)sum;
  totals[((i64)n * 2 + 1) * channels + c] = (float)sumX;
}

// norm_back_groups leaves the means of dz·γ and dz·γ·x̂ of a group, means
// [N,Groups,2]. Grid: (Groups, N).
KERNEL(128) norm_back_groups(float* means, const float* totals, const float* gamma, int pixels, int channels, int groups) {
  __shared__ double part[32];
  int group = blockIdx.x, n = blockIdx.y, per = channels / groups;
  double sum = 0, sumX = 0;
  for (int i = threadIdx.x; i < per; i += 128) {
    int c = group * per + i;
    sum += (double)gamma[c] * totals[(i64)n * 2 * channels + c];
    sumX += (double)gamma[c] * totals[((i64)n * 2 + 1) * channels + c];
  }
  sum = block_sum(sum, part);
  sumX = block_sum(sumX, part);
  if (threadIdx.x == 0) {
    double count = (double)pixels * per;
    means[((i64)n * groups + group) * 2] = (float)(sum / count);
    means[((i64)n * groups + group) * 2 + 1] = (float)(sumX / count);
  }
}

// norm_back_params adds the images' totals to dγ and dβ in order.
KERNEL(128) norm_back_params(float* dgamma, float* dbeta, const float* totals, int images, int channels) {
  int c = blockIdx.x * 128 + threadIdx.x;
  if (c >= channels) return;
  for (int n = 0; n < images; n++) {
    if (dbeta) dbeta[c] += totals[(i64)n * 2 * channels + c];
    if (dgamma) dgamma[c] += totals[((i64)n * 2 + 1) * channels + c];
  }
}

KERNEL(256) norm_back_apply(float* dx, const float* dy, const float* x, const float* stats, const float* means, const float* gamma,
                            const float* beta, int images, int pixels, int channels, int groups, int silu, float acc, int run) {
  Element e = element(run, pixels, channels, groups);
  if (e.at >= (i64)images * pixels * channels) return;
  Four v, d, g, b, old;
  take(v, x + e.at, run);
  take(d, dy + e.at, run);
  take(g, gamma + e.channel, run);
  take(b, beta + e.channel, run);
  if (acc != 0) take(old, dx + e.at, run);
  const float *s = stats + e.group * 2, *m = means + e.group * 2;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    if (j >= run) break;
    float z = dz(affine(s, g.v[j], b.v[j]), v.v[j], d.v[j], silu);
    float hat = (v.v[j] - s[0]) * s[1];
    v.v[j] = s[1] * (z * g.v[j] - m[0] - hat * m[1]);
    if (acc != 0) v.v[j] += acc * old.v[j];
    if (++e.place == channels / groups) e.place = 0, s += 2, m += 2;
  }
  leave(dx + e.at, v, run);
}

// layer_norm: a warp a row.
KERNEL(128) layer_norm(float* y, int yStride, float* stats, const float* x, int xStride, const float* gamma, const float* beta, int rows,
                       int columns, float eps) {
  int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  const float* p = x + (i64)row * xStride;
  float sum = 0, squares = 0;
  if (row < rows)
    for (int c = lane; c < columns; c += 32) sum += p[c];
  float mean = warp_sum(sum) / (float)columns;
  if (row < rows)
    for (int c = lane; c < columns; c += 32) squares = fmaf(p[c] - mean, p[c] - mean, squares);
  squares = warp_sum(squares);
  if (row >= rows) return;
  float rstd = 1 / sqrtf(squares / (float)columns + eps);
  for (int c = lane; c < columns; c += 32) y[(i64)row * yStride + c] = fmaf((p[c] - mean) * rstd, gamma[c], beta[c]);
  if (lane == 0) {
    stats[2 * (i64)row] = mean;
    stats[2 * (i64)row + 1] = rstd;
  }
}

// layer_norm_back: a warp a row.
KERNEL(128) layer_norm_back(float* dx, int dxStride, const float* dy, int dyStride, const float* x, int xStride, const float* stats,
                            const float* gamma, int rows, int columns, float acc) {
  int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  const float *p = x + (i64)row * xStride, *d = dy + (i64)row * dyStride;
  float mean = 0, rstd = 0, sum = 0, sumX = 0;
  if (row < rows) {
    mean = stats[2 * (i64)row];
    rstd = stats[2 * (i64)row + 1];
    for (int c = lane; c < columns; c += 32) {
      float g = d[c] * gamma[c];
      sum += g;
      sumX = fmaf(g, (p[c] - mean) * rstd, sumX);
    }
  }
  sum = warp_sum(sum) / (float)columns;
  sumX = warp_sum(sumX) / (float)columns;
  if (row >= rows) return;
  float* out = dx + (i64)row * dxStride;
  for (int c = lane; c < columns; c += 32) {
    float v = rstd * (d[c] * gamma[c] - sum - (p[c] - mean) * rstd * sumX);
    if (acc != 0) v += acc * out[c];
    out[c] = v;
  }
}

// layer_norm_back_sums leaves Σdy and Σdy·x̂ of a block of rows, [blocks,2,C],
// in the layout of norm_back_channels. Grid: (blocks, ⌈C/128⌉).
KERNEL(128) layer_norm_back_sums(float* sums, const float* dy, int dyStride, const float* x, int xStride, const float* stats, int rows,
                                 int columns, int block) {
  int c = blockIdx.y * 128 + threadIdx.x;
  if (c >= columns) return;
  float sum = 0, sumX = 0;
  int from = blockIdx.x * block;
  for (int r = from; r < least(from + block, rows); r++) {
    float d = dy[(i64)r * dyStride + c];
    sum += d;
    sumX = fmaf(d, (x[(i64)r * xStride + c] - stats[2 * (i64)r]) * stats[2 * (i64)r + 1], sumX);
  }
  float* out = sums + (i64)blockIdx.x * 2 * columns + c;
  out[0] = sum;
  out[columns] = sumX;
}
