// Does the fake driver catch what it is there to catch? Kernels with one fault
// each, and the calls that no driver would take. scripts/cuda/fake.sh --selftest.
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#define LOWRANK_HOST
#include "host.h"
#include "registry.h"

namespace {
#include "base.cuh"

KERNEL(64) right(float* y, int n) {
  __shared__ float part[32];
  float sum = block_sum((float)threadIdx.x, part);
  if ((int)threadIdx.x < n) y[threadIdx.x] = sum;
}
KERNEL(64) half_at_barrier(float* y, int n) {
  if ((int)threadIdx.x < n) __syncthreads();
  y[threadIdx.x] = 0;
}
KERNEL(64) two_barriers(float* y, int n) {
  if ((int)threadIdx.x < n)
    __syncthreads();
  else
    __syncthreads();
}
KERNEL(64) lanes_missing(float* y, int n) {
  if ((int)threadIdx.x < n) y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
KERNEL(64) other_operations(float* y, int n) {
  if ((int)threadIdx.x % 2)
    __syncwarp();
  else
    y[threadIdx.x] = warp_sum(1.0f);
}
KERNEL(64) no_wait(float* y, int n) {
  __shared__ __align__(16) float tile[4];
  if (threadIdx.x == 0) copy_async(tile, y, true);
  __syncthreads();
}
KERNEL(64) wait(float* y, int n) {
  __shared__ __align__(16) float tile[4];
  if (threadIdx.x == 0) {
    copy_async(tile, y, true);
    if (n) copy_async_wait();
    y[4] = tile[0] + 1;
    if (!n) copy_async_wait();
  }
  __syncthreads();
}
KERNEL(64) past_shared(float* y, int n) {
  DYNAMIC_SHARED(float, memory);
  memory[n] = 1;
  __syncthreads();
}
KERNEL(64) fresh_shared(float* y, int n) {
  DYNAMIC_SHARED(float, memory);
  y[threadIdx.x] = memory[threadIdx.x];
  __syncthreads();
}
KERNEL(64) unaligned(float* y, int n) {
  __shared__ __align__(16) u16 tile[512];
  u32 r[4];
  ldmatrix(r, tile + threadIdx.x % 32 * 8 + n);
}
// Each thread reads what its neighbour has left, without a barrier between.
KERNEL(64) no_barrier(float* y, int n) {
  __shared__ float part[64];
  part[threadIdx.x] = (float)n;
  if (n < 0) __syncthreads();
  y[threadIdx.x] = part[(threadIdx.x + 63) % 64];
}
// The lanes of a warp are taken to run side by side.
KERNEL(64) no_warp_barrier(float* y, int n) {
  __shared__ float part[64];
  part[threadIdx.x] = (float)n;
  float v = part[threadIdx.x ^ 1];
  __syncwarp();
  y[threadIdx.x] = v;
}
KERNEL(64) stale_shared(float* y, int n) {
  __shared__ float part[64];
  if (n) part[threadIdx.x] = (float)n;
  __syncthreads();
  y[threadIdx.x] = part[threadIdx.x];
}
KERNEL(64) past_end(float* y, int n) { y[threadIdx.x + n] = 1; }
KERNEL(64) before_start(float* y, int n) { y[-1 - n] = 1; }
} // namespace

namespace fake {
extern const Named selftest_kernels[];
const Named selftest_kernels[] = {
    LOWRANK_KERNEL(right) LOWRANK_KERNEL(half_at_barrier) LOWRANK_KERNEL(two_barriers) LOWRANK_KERNEL(lanes_missing)
    LOWRANK_KERNEL(other_operations) LOWRANK_KERNEL(no_wait) LOWRANK_KERNEL(wait) LOWRANK_KERNEL(past_shared)
    LOWRANK_KERNEL(fresh_shared) LOWRANK_KERNEL(unaligned) LOWRANK_KERNEL(stale_shared) LOWRANK_KERNEL(no_barrier) LOWRANK_KERNEL(no_warp_barrier) LOWRANK_KERNEL(past_end) LOWRANK_KERNEL(before_start){nullptr, nullptr}};
} // namespace fake

static int failures;

static void want(bool ok, const std::string& what) {
  if (!ok) {
    printf("FAIL %s\n", what.c_str());
    failures++;
  }
}

// Session is a context with a stream, a module and 64 floats.
struct Session {
  CUcontext context;
  CUstream stream;
  CUmodule module;
  CUdeviceptr y = 0;

  Session() {
    cuInit(0);
    cuDevicePrimaryCtxRetain(&context, 0);
    cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    std::string ptx = "\n.version 8.1\n.target sm_75\n";
    for (const fake::Named* k = fake::selftest_kernels; k->name; k++)
      ptx += std::string(".visible .entry ") + k->name + "(.param .u64 y, .param .u32 n)\n.maxntid 64, 1, 1\n{ bar.sync 0; }\n";
    want(cuModuleLoadData(&module, ptx.c_str()) == CUDA_SUCCESS, "load the module");
    cuMemAlloc(&y, 64 * 4);
  }
  ~Session() { cuDevicePrimaryCtxRelease(0); }

  CUresult launch(const char* kernel, int n, unsigned threads = 64, unsigned shared = 0) {
    CUfunction f;
    if (cuModuleGetFunction(&f, module, kernel) != CUDA_SUCCESS) return CUDA_ERROR_NOT_FOUND;
    void* arguments[] = {&y, &n};
    return cuLaunchKernel(f, 1, 1, 1, threads, 1, 1, shared, stream, arguments, nullptr);
  }
};

// caught wants a kernel to end in an error that says what.
static void caught(const char* kernel, int n, const char* what, unsigned shared = 0) {
  Session s;
  want(s.launch(kernel, n, 64, shared) == CUDA_SUCCESS, std::string(kernel) + ": launch");
  CUresult r = cuStreamSynchronize(s.stream);
  const char* text = "";
  cuGetErrorString(r, &text);
  want(r == CUDA_ERROR_ILLEGAL_ADDRESS && std::string(text).find(what) != std::string::npos && std::string(text).find(kernel) != std::string::npos,
       std::string(kernel) + ": error " + std::to_string(r) + ", \"" + text + "\" does not say \"" + what + "\"");
  want(cuMemAlloc(&s.y, 4) == CUDA_ERROR_ILLEGAL_ADDRESS, std::string(kernel) + ": the context is not poisoned");
}

static void refused(const char* what, const std::function<CUresult(Session&)>& call, CUresult code = CUDA_ERROR_INVALID_VALUE) {
  Session s;
  CUresult r = call(s);
  want(r == code, std::string(what) + ": result " + std::to_string(r) + ", want " + std::to_string(code));
}

int main() {
  fclose(stderr); // the faults are meant
  setenv("FAKE_CUDA_SPOIL", "1", 1);
  float host[64];
  {
    Session s;
    cuMemcpyDtoH(host, s.y, sizeof host);
    want(host[0] != host[0], "fresh memory is not NaN");
    s.launch("right", 64);
    cuMemcpyDtoH(host, s.y, sizeof host);
    want(host[0] != host[0], "a copy that waits for nothing saw the kernel's result");
    cuStreamSynchronize(s.stream);
    cuMemcpyDtoH(host, s.y, sizeof host);
    want(host[0] == 2016 && host[63] == 2016, "a sum over a block");
    s.launch("wait", 1);
    s.launch("fresh_shared", 0, 64, 256);
    cuStreamSynchronize(s.stream);
    cuMemcpyDtoH(host, s.y, sizeof host);
    want(host[7] != host[7], "fresh shared memory is not NaN");
  }
  {
    Session s;
    for (int waits : {0, 1}) {
      cuMemsetD32Async(s.y, 0x40a00000, 64, s.stream); // 5
      s.launch("wait", waits);
      cuStreamSynchronize(s.stream);
      cuMemcpyDtoH(host, s.y, sizeof host);
      want((host[4] == 6) == waits, "an asynchronous copy is there when it was waited for, not before");
    }
  }
  {
    Session s;
    for (int n : {3, 0}) {
      s.launch("stale_shared", n);
      cuStreamSynchronize(s.stream);
      cuMemcpyDtoH(host, s.y, sizeof host);
      want(n ? host[5] == 3 : host[5] != host[5], "shared memory that was not written is NaN, what was written is there");
    }
  }
  {
    Session s;
    void* gone;
    cuMemHostAlloc(&gone, 256, 0);
    want(cuMemcpyHtoDAsync(s.y, gone, 256, s.stream) == CUDA_SUCCESS, "a copy from page-locked memory");
    cuMemFreeHost(gone);
    want(cuStreamSynchronize(s.stream) == CUDA_ERROR_ILLEGAL_ADDRESS, "page-locked memory is given back before a copy has read it");
  }
  // A race shows within a few launches, as some thread runs before the one that it counts on.
  for (const char* race : {"no_barrier", "no_warp_barrier"}) {
    Session s;
    int wrong = 0;
    for (int n = 1; n <= 8; n++) {
      s.launch(race, n);
      cuStreamSynchronize(s.stream);
      cuMemcpyDtoH(host, s.y, sizeof host);
      for (float v : host) wrong += v != n;
    }
    want(wrong > 0, std::string(race) + ": a missing barrier makes no difference");
  }
  caught("half_at_barrier", 16, "a barrier that not all threads reach");
  caught("two_barriers", 16, "a barrier that not all threads reach");
  caught("lanes_missing", 20, "warp operation that not all lanes reach");
  caught("other_operations", 0, "lanes of one warp at different operations");
  caught("no_wait", 0, "did not wait for");
  caught("past_shared", 64, "write to", 256);
  caught("unaligned", 1, "no multiple of 16");
  caught("past_end", 1024, "past the end");
  caught("past_end", 1, "past the end");
  caught("before_start", 0, "around an allocation");
  refused("a block over its launch bound", [](Session& s) { return s.launch("right", 0, 96); });
  refused("too much dynamic shared memory", [](Session& s) { return s.launch("right", 0, 64, 50 << 10); });
  refused("a copy past the end", [&](Session& s) { return cuMemcpyDtoH(host, s.y + 8, 64 * 4); });
  refused("an asynchronous copy from other than page-locked memory", [&](Session& s) { return cuMemcpyHtoDAsync(s.y, host, sizeof host, s.stream); });
  refused("an asynchronous copy to other than page-locked memory", [&](Session& s) { return cuMemcpyDtoHAsync(host, s.y, sizeof host, s.stream); });
  refused("a fill past the end", [](Session& s) { return cuMemsetD32Async(s.y, 0, 65, s.stream); });
  refused("a launch with freed memory", [](Session& s) {
    cuMemFree(s.y);
    return s.launch("right", 0);
  });
  refused("a second free", [](Session& s) {
    cuMemFree(s.y);
    return cuMemFree(s.y);
  }, CUDA_ERROR_ILLEGAL_ADDRESS);
  refused("more memory than there is", [](Session& s) { return cuMemAlloc(&s.y, size_t(1) << 40); }, CUDA_ERROR_OUT_OF_MEMORY);
  refused("PTX of the future", [](Session& s) { return cuModuleLoadData(&s.module, "\n.version 8.3\n.target sm_75\n"); }, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  refused("PTX for a later GPU", [](Session& s) { return cuModuleLoadData(&s.module, "\n.version 8.1\n.target sm_90\n"); }, CUDA_ERROR_NO_BINARY_FOR_GPU);
  refused("a call without a context", [](Session&) {
    cuDevicePrimaryCtxRelease(0);
    CUdeviceptr p;
    CUresult r = cuMemAlloc(&p, 4);
    CUcontext c;
    cuDevicePrimaryCtxRetain(&c, 0);
    return r;
  }, CUDA_ERROR_INVALID_CONTEXT);
  printf(failures ? "%d failures\n" : "the fake driver catches what it should\n", failures);
  return failures != 0;
}
