// The driver's calls but streams: device, context, memory, modules, launches.
#include "driver.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "memory.h"

using namespace fake;

namespace fake {

State state;

// FAKE_CUDA_CALLS is a file of two numbers of 8 bytes: the launches of kernels, captured ones too, and those of graphs,
// since it was made.
void count(int which) {
  const char* path = getenv("FAKE_CUDA_CALLS");
  if (!path) return;
  static uint64_t calls[2];
  int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (file >= 0)
    calls[0] = calls[1] = 0;
  else
    file = open(path, O_WRONLY);
  calls[which]++;
  if (file < 0 || pwrite(file, calls, sizeof calls, 0) != (ssize_t)sizeof calls) perror("fake CUDA: FAKE_CUDA_CALLS");
  close(file);
}

static std::recursive_mutex lock;

Call::Call() { lock.lock(); }
Call::~Call() { lock.unlock(); }

CUresult Call::ready(const char* name) {
  if (!state.initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (state.contexts == 0) {
    fprintf(stderr, "fake CUDA: %s without a context\n", name);
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  return state.poison;
}

CUresult poison(CUresult code, const std::string& detail) {
  state.poison = code;
  state.detail = detail;
  if (!detail.empty()) fprintf(stderr, "fake CUDA: %s\n", detail.c_str());
  return code;
}

static CUresult refuse(CUresult code, const std::string& why) {
  fprintf(stderr, "fake CUDA: %s\n", why.c_str());
  return code;
}

CUresult checkRange(const char* call, CUdeviceptr p, size_t n) {
  if (n == 0 || holds(p, n)) return CUDA_SUCCESS;
  return refuse(CUDA_ERROR_INVALID_VALUE, std::string(call) + " of " + std::to_string(n) + " bytes at " + describe((void*)p));
}

static long setting(const char* name, long otherwise) {
  const char* v = getenv(name);
  return v && *v ? atol(v) : otherwise;
}

static int sharedLimit() {
  switch (state.sm) {
    case 75: return 64 << 10;
    case 80: return 163 << 10;
    case 90: return 227 << 10;
  }
  return 99 << 10;
}

} // namespace fake

EXPORT CUresult cuInit(unsigned) {
  Call c;
  if (setting("FAKE_CUDA_NO_DEVICE", 0)) return CUDA_ERROR_NO_DEVICE;
  state.initialised = true;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDriverGetVersion(int* v) {
  *v = (int)setting("FAKE_CUDA_DRIVER", 12010);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice* d, int ordinal) {
  *d = 0;
  return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

EXPORT CUresult cuDeviceGetCount(int* n) {
  *n = 1;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char* name, int n, CUdevice) {
  snprintf(name, n, "Fake GPU");
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid(CUuuid* u, CUdevice) {
  *u = CUuuid{};
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t* n, CUdevice) {
  *n = setting("FAKE_CUDA_MEMORY", 8l << 30);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetAttribute(int* v, CUdevice_attribute a, CUdevice) {
  int sm = (int)setting("FAKE_CUDA_SM", 86);
  switch ((int)a) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = sm / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = sm % 10; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = 1; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *v = 1000000; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *v = 1000000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *v = 64; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *v = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *v = sharedLimit(); break;
    default: return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuDeviceGetAttribute " + std::to_string((int)a));
  }
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice) {
  Call c;
  if (!state.initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (state.contexts++ == 0) {
    state.poison = CUDA_SUCCESS;
    state.detail = "";
    state.sm = (int)setting("FAKE_CUDA_SM", 86);
    state.driver = (int)setting("FAKE_CUDA_DRIVER", 12010);
    state.memory = setting("FAKE_CUDA_MEMORY", 8l << 30);
  }
  *out = (CUcontext)&state;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) {
  Call c;
  if (state.contexts == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--state.contexts > 0) return CUDA_SUCCESS;
  state.streams.clear();
  state.modules.clear();
  releaseAll();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

EXPORT CUresult cuCtxGetCurrent(CUcontext* out) {
  *out = state.contexts ? (CUcontext)&state : nullptr;
  return CUDA_SUCCESS;
}

// Memory.

EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  Call c;
  if (CUresult r = c.ready("cuMemGetInfo")) return r;
  *total = state.memory;
  *free = state.memory - used();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t n) {
  Call c;
  if (CUresult r = c.ready("cuMemAlloc")) return r;
  if (n == 0) return CUDA_ERROR_INVALID_VALUE;
  *out = allocate(n, state.memory);
  return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr p) {
  Call c;
  if (CUresult r = c.ready("cuMemFree")) return r;
  Work w = [p] {
    std::string why;
    return release(p, why) ? CUDA_SUCCESS : poison(CUDA_ERROR_ILLEGAL_ADDRESS, why);
  };
  // The driver waits for what is queued; here it is freed in its turn.
  for (CUstream_st& s : state.streams)
    if (!s.queue.empty()) {
      s.queue.push_back(w);
      return CUDA_SUCCESS;
    }
  return w();
}

EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* size, CUdeviceptr p) {
  Call c;
  uint64_t b;
  if (!range(p, b, *size)) return CUDA_ERROR_INVALID_VALUE;
  *base = b;
  return CUDA_SUCCESS;
}

// Page-locked host memory: its pieces by address.
static std::map<const char*, size_t> locked;

static bool isLocked(const void* p, size_t n) {
  auto i = locked.upper_bound((const char*)p);
  return i != locked.begin() && (const char*)p + n <= (--i)->first + i->second;
}

EXPORT CUresult cuMemHostAlloc(void** p, size_t n, unsigned) {
  Call c;
  if (CUresult r = c.ready("cuMemHostAlloc")) return r;
  *p = malloc(n);
  if (!*p) return CUDA_ERROR_OUT_OF_MEMORY;
  locked[(const char*)*p] = n;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuMemFreeHost(void* p) {
  Call c;
  if (!locked.erase((const char*)p)) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost of memory that is not page-locked");
  free(p);
  return CUDA_SUCCESS;
}

// copy copies on a stream, to and from page-locked host memory only: other memory makes the driver wait, and it may be gone
// when the copy's turn comes.
static CUresult copy(const char* call, CUstream s, void* dst, const void* src, size_t n) {
  Call c;
  if (CUresult r = c.ready(call)) return r;
  const void* host = nullptr;
  for (const void* p : {(const void*)dst, src})
    if (!inArena((uint64_t)p))
      host = p;
    else if (CUresult r = checkRange(call, (CUdeviceptr)p, n))
      return r;
  std::string what = std::string(call) + ": host memory that is not page-locked";
  if (s && host && !isLocked(host, n)) return refuse(CUDA_ERROR_INVALID_VALUE, what);
  return enqueue(s, [=] {
    if (s && host && !isLocked(host, n)) return poison(CUDA_ERROR_ILLEGAL_ADDRESS, what + " any more when its turn comes");
    memmove(dst, src, n);
    return CUDA_SUCCESS;
  });
}

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr d, const void* h, size_t n) { return copy("cuMemcpyHtoD", nullptr, (void*)d, h, n); }
EXPORT CUresult cuMemcpyDtoH_v2(void* h, CUdeviceptr d, size_t n) { return copy("cuMemcpyDtoH", nullptr, h, (void*)d, n); }
EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void* h, size_t n, CUstream s) { return copy("cuMemcpyHtoDAsync", s, (void*)d, h, n); }
EXPORT CUresult cuMemcpyDtoHAsync_v2(void* h, CUdeviceptr d, size_t n, CUstream s) { return copy("cuMemcpyDtoHAsync", s, h, (void*)d, n); }
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr a, CUdeviceptr b, size_t n, CUstream s) { return copy("cuMemcpyDtoDAsync", s, (void*)a, (void*)b, n); }

template <class T>
static CUresult set(const char* call, CUdeviceptr p, T v, size_t n, CUstream s) {
  Call c;
  if (CUresult r = c.ready(call)) return r;
  if (CUresult r = checkRange(call, p, n * sizeof(T))) return r;
  return enqueue(s, [=] {
    for (size_t i = 0; i < n; i++) ((T*)p)[i] = v;
    return CUDA_SUCCESS;
  });
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr p, unsigned char v, size_t n, CUstream s) { return set("cuMemsetD8Async", p, v, n, s); }
EXPORT CUresult cuMemsetD16Async(CUdeviceptr p, unsigned short v, size_t n, CUstream s) { return set("cuMemsetD16Async", p, v, n, s); }
EXPORT CUresult cuMemsetD32Async(CUdeviceptr p, unsigned v, size_t n, CUstream s) { return set("cuMemsetD32Async", p, v, n, s); }

// Modules and launches.

EXPORT CUresult cuModuleLoadData(CUmodule* out, const void* image) {
  Call c;
  if (CUresult r = c.ready("cuModuleLoadData")) return r;
  if (memcmp(image, "\x7f" "ELF", 4) == 0) return CUDA_ERROR_NO_BINARY_FOR_GPU; // machine code is for real ones
  CUmod_st m;
  if (!parse((const char*)image, m.ptx)) return CUDA_ERROR_INVALID_PTX;
  // PTX 7.0 came with CUDA 11.0, 8.0 with 12.0.
  if (m.ptx.version > (state.driver / 1000 - 4) * 10 + state.driver % 1000 / 10) return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  if (m.ptx.target > state.sm) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  state.modules.push_back(m);
  *out = &state.modules.back();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned, CUjit_option*, void**) { return cuModuleLoadData(out, image); }

EXPORT CUresult cuModuleUnload(CUmodule m) {
  Call c;
  if (CUresult r = drainAll()) return r;
  state.modules.remove_if([&](CUmod_st& x) { return &x == m; });
  return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleGetFunction(CUfunction* out, CUmodule m, const char* name) {
  Call c;
  if (CUresult r = c.ready("cuModuleGetFunction")) return r;
  auto e = m->ptx.entries.find(name);
  if (e == m->ptx.entries.end()) return CUDA_ERROR_NOT_FOUND;
  Invoke f = find(name);
  if (!f) return refuse(CUDA_ERROR_NOT_FOUND, std::string("no source of kernel ") + name + ": is this library older than the PTX?");
  m->functions.push_back(CUfunc_st{name, e->second, f});
  *out = &m->functions.back();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
  Call c;
  if (a != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  if (v + (int)f->entry.sharedBytes > sharedLimit())
    return refuse(CUDA_ERROR_INVALID_VALUE, f->name + ": " + std::to_string(v) + " bytes of shared memory on a device with " + std::to_string(sharedLimit()));
  f->maxDynamicShared = v;
  return CUDA_SUCCESS;
}

static std::string limits(CUfunction f, Index grid, Index block, unsigned shared) {
  uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || uint64_t(grid.x) * grid.y * grid.z == 0) return "an empty grid or block";
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024) return "a block of " + std::to_string(threads) + " threads";
  if (threads > f->entry.maxThreads) return "a block of " + std::to_string(threads) + " threads, its launch bound is " + std::to_string(f->entry.maxThreads);
  if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) return "a grid too large";
  if ((int)shared > f->maxDynamicShared) return std::to_string(shared) + " bytes of dynamic shared memory, allowed are " + std::to_string(f->maxDynamicShared);
  if (f->entry.sharedBytes > 48 << 10) return std::to_string(f->entry.sharedBytes) + " bytes of static shared memory";
  return "";
}

EXPORT CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s,
                               void** arguments, void** extra) {
  Call c;
  if (CUresult r = c.ready("cuLaunchKernel")) return r;
  auto l = std::make_shared<Launch>();
  l->grid = Index{gx, gy, gz};
  l->block = Index{bx, by, bz};
  std::string why = limits(f, l->grid, l->block, shared);
  if (!why.empty() || extra) return refuse(CUDA_ERROR_INVALID_VALUE, "launch of " + f->name + ": " + (extra ? "with extra" : why));
  l->kernel = f->name;
  l->invoke = f->invoke;
  l->dynamicShared = shared;
  l->straight = f->entry.straight;
  for (size_t i = 0; i < f->entry.parameters.size(); i++) {
    uint64_t v = 0;
    int size = f->entry.parameters[i];
    if (size != 4 && size != 8) return refuse(CUDA_ERROR_INVALID_VALUE, "launch of " + f->name + ": an argument of " + std::to_string(size) + " bytes");
    memcpy(&v, arguments[i], size);
    // Numbers of 8 bytes are counts; what is larger than any is an address.
    if (size == 8 && v >= uint64_t(1) << 40 && !holds(v, 0))
      return refuse(CUDA_ERROR_INVALID_VALUE, "launch of " + f->name + ": argument " + std::to_string(i) + " is " + describe((void*)v));
    l->values.push_back(v);
  }
  count(0);
  // A launch number to fail at, for tests of a GPU that falls off the bus; NUMBER:FILE fails in one process only, that
  // which makes the file.
  if (const char* n = getenv("FAKE_CUDA_FAIL")) {
    if (state.failLaunch < 0) state.failLaunch = atol(n);
    const char* once = strchr(n, ':');
    if (state.failLaunch-- == 0 && (!once || close(open(once + 1, O_CREAT | O_EXCL | O_WRONLY, 0600)) == 0)) return poison(CUDA_ERROR_LAUNCH_FAILED, "the launch that FAKE_CUDA_FAIL names");
  } else {
    state.failLaunch = -1;
  }
  return enqueue(s, [l] {
    l->failed = false;
    l->error = "";
    std::string why = run(*l);
    for (uint64_t v : l->values)
      if (why.empty() && v >= uint64_t(1) << 40) {
        why = overrun(v);
        if (!why.empty()) why = "kernel " + l->kernel + ": " + why;
      }
    return why.empty() ? CUDA_SUCCESS : poison(CUDA_ERROR_ILLEGAL_ADDRESS, why);
  });
}

// Errors.

static const char* nameOf(CUresult code) {
  switch (code) {
    case CUDA_ERROR_OUT_OF_MEMORY: return "CUDA_ERROR_OUT_OF_MEMORY";
    case CUDA_ERROR_ILLEGAL_ADDRESS: return "CUDA_ERROR_ILLEGAL_ADDRESS";
    case CUDA_ERROR_LAUNCH_FAILED: return "CUDA_ERROR_LAUNCH_FAILED";
    case CUDA_ERROR_INVALID_VALUE: return "CUDA_ERROR_INVALID_VALUE";
    case CUDA_ERROR_NOT_SUPPORTED: return "CUDA_ERROR_NOT_SUPPORTED";
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION: return "CUDA_ERROR_UNSUPPORTED_PTX_VERSION";
    default: return "CUDA_ERROR_OTHER";
  }
}

EXPORT CUresult cuGetErrorName(CUresult code, const char** s) {
  *s = nameOf(code);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorString(CUresult code, const char** s) {
  Call c;
  *s = code == state.poison && !state.detail.empty() ? state.detail.c_str() : nameOf(code);
  return CUDA_SUCCESS;
}
