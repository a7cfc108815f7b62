// Kernels that see a whole step's loss or parameters, and noise.
#include "base.cuh"

// loss: a block a sample, sums in float64. See device.Training.Loss.
KERNEL(256) loss(float* out, float* dpred, const float* pred, const float* target, const float* mask, const float* weight, int images,
                 int pixels, int channels) {
  __shared__ double part[32];
  int n = blockIdx.x;
  double scale = 1 / (double)((i64)pixels * channels) / images;
  if (weight) scale *= weight[n];
  double sum = 0;
  for (i64 i = threadIdx.x; i < (i64)pixels * channels; i += 256) {
    i64 at = (i64)n * pixels * channels + i;
    float m = mask ? mask[(i64)n * pixels + split(i, channels).quotient] : 1;
    float e = pred[at] - target[at];
    sum += (double)m * m * ((double)e * e);
    if (dpred) dpred[at] = (float)(2 * scale * m * m) * e;
  }
  sum = block_sum(sum, part);
  if (threadIdx.x == 0) out[n] = (float)(scale * sum);
}

// square_sums leaves Σx² of runs of 8192 elements.
KERNEL(256) square_sums(double* parts, const float* x, i64 n) {
  __shared__ double part[32];
  i64 from = (i64)blockIdx.x * 8192, to = from + 8192 < n ? from + 8192 : n;
  double sum = 0;
  for (i64 i = from + threadIdx.x; i < to; i += 256) sum += (double)x[i] * x[i];
  sum = block_sum(sum, part);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// square_merge: out[0] = Σ parts + acc·out[0]; one block.
KERNEL(256) square_merge(float* out, const double* parts, int count, float acc) {
  __shared__ double part[32];
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += 256) sum += parts[i];
  sum = block_sum(sum, part);
  if (threadIdx.x != 0) return;
  if (acc != 0) sum += (double)acc * out[0];
  out[0] = (float)sum;
}

// clip_factor: factor[0] = min(1, maxNorm/(√sum[0]+1e-6)).
KERNEL(32) clip_factor(float* factor, const float* sum, float maxNorm) {
  if (threadIdx.x == 0) factor[0] = fminf(1, maxNorm / (sqrtf(sum[0]) + 1e-6f));
}

// Step holds the numbers of AdamW (Loshchilov and Hutter, arXiv:1711.05101, in
// PyTorch's order) for one segment.
struct Step {
  float keep, oneMinus1, beta2, oneMinus2, rootBias2, eps, rate;
};

// In float32 the 1−beta of 0.999 would be wrong by 5e-5. The betas have at most
// seven decimals, so rounding to that brings the number back that was meant.
__device__ __forceinline__ float complement(float beta) { return (float)(rint((1 - (double)beta) * 1e7) / 1e7); }

// hyper is: learning rate, beta1, beta2, epsilon, weight decay, 1−beta1^t,
// 1−beta2^t.
__device__ __forceinline__ Step adamw_step(const float* hyper) {
  double lr = hyper[0];
  Step s;
  s.keep = (float)(1 - lr * hyper[4]);
  s.oneMinus1 = complement(hyper[1]);
  s.beta2 = hyper[2];
  s.oneMinus2 = complement(hyper[2]);
  s.rootBias2 = (float)sqrt((double)hyper[6]);
  s.eps = hyper[3];
  s.rate = (float)(lr / hyper[5]);
  return s;
}

// adamw steps up to four segments of a slab, blockIdx.y the segment.
KERNEL(256) adamw(float* p, const float* g, float* m, float* v, const float* clip, i64 off0, i64 len0, const float* hyper0, i64 off1,
                  i64 len1, const float* hyper1, i64 off2, i64 len2, const float* hyper2, i64 off3, i64 len3, const float* hyper3) {
  i64 offs[4] = {off0, off1, off2, off3}, lens[4] = {len0, len1, len2, len3};
  const float* hypers[4] = {hyper0, hyper1, hyper2, hyper3};
  __shared__ Step shared;
  if (threadIdx.x == 0) shared = adamw_step(hypers[blockIdx.y]);
  __syncthreads();
  Step s = shared;
  i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= lens[blockIdx.y]) return;
  i += offs[blockIdx.y];
  float gi = clip ? clip[0] * g[i] : g[i];
  float mi = m[i] + s.oneMinus1 * (gi - m[i]);
  float vi = (s.oneMinus2 * gi) * gi + s.beta2 * v[i];
  m[i] = mi;
  v[i] = vi;
  float den = sqrtf(vi) / s.rootBias2 + s.eps;
  p[i] = s.keep * p[i] - s.rate * (mi / den);
}

// sin_cos_turn returns sine and cosine of t·2π/2²⁴.
__device__ __forceinline__ void sin_cos_turn(u32 t, float& sine, float& cosine) {
  u32 quarter = (t + (1u << 21)) >> 22;
  float x = (float)((int)t - (int)(quarter << 22)) * (1.0f / (1 << 22)); // of a quarter turn, |x| ≤ 1/2
  float x2 = x * x;
  float s = -0.00469148112f;
  s = s * x2 + 0.0797143057f;
  s = s * x2 + -0.645966768f;
  s = s * x2 + 1.57079637f;
  s *= x;
  float c = 0.00089357252f;
  c = c * x2 + -0.0208552536f;
  c = c * x2 + 0.253668517f;
  c = c * x2 + -1.23370051f;
  c = c * x2 + 1;
  switch (quarter & 3) {
    case 0: sine = s, cosine = c; break;
    case 1: sine = c, cosine = -s; break;
    case 2: sine = -s, cosine = -c; break;
    default: sine = -c, cosine = s;
  }
}

// normal draws numbers 4i … 4i+3 of a stream, a thread a quad, by Box and
// Muller's transform in products and sums rounded one by one: the same bits as
// device/cpu/kernel's Normals.
KERNEL(256) normal(float* dst, i64 n, const int* step, u32 keyLow, u32 keyHigh, u32 stream, u32 micro) {
  i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * 4;
  if (i >= n) return;
  Quad q = philox(keyLow, keyHigh, stream, (u32)*step, micro, (u32)(i / 4));
  float v[4];
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    float u = (float)((q.word[j] >> 8) + 1) * (1.0f / (1 << 24));
    float radius = sqrtf(-2 * log32(u)), sine, cosine;
    sin_cos_turn(q.word[j + 1] >> 8, sine, cosine);
    v[j] = radius * cosine;
    v[j + 1] = radius * sine;
  }
#pragma unroll
  for (int j = 0; j < 4; j++)
    if (i + j < n) dst[i + j] = v[j];
}
