// The fake driver's state, shared by its files. One context, one process: the
// primary context of the only device. Calls are serialised by one lock.
#pragma once
#include <cuda.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "fibers.h"
#include "ptx.h"

struct CUmod_st {
  fake::Module ptx;
  std::list<CUfunc_st> functions;
};

struct CUfunc_st {
  std::string name;
  fake::Entry entry;
  fake::Invoke invoke;
  int maxDynamicShared = 48 << 10;
};

typedef std::function<CUresult()> Work;

struct CUstream_st {
  std::list<Work> queue;
  bool capturing = false;
  std::vector<Work> captured;
};

struct CUevent_st {
  CUstream_st* stream = nullptr; // on whose queue it waits
  double time = 0;               // ms
};

struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};

namespace fake {

struct State {
  bool initialised = false;
  int contexts = 0; // holders of the primary context
  CUresult poison = CUDA_SUCCESS;
  std::string detail; // of the poison, for cuGetErrorString
  int sm = 86, driver = 12010;
  size_t memory = size_t(8) << 30;
  long failLaunch = -1; // launches until one fails
  std::list<CUstream_st> streams;
  std::list<CUmod_st> modules;
};

extern State state;

// Call guards a driver call: it takes the lock; ready says that the context is
// there and not poisoned.
struct Call {
  Call();
  ~Call();
  CUresult ready(const char* name);
};

CUresult poison(CUresult code, const std::string& detail);
// enqueue puts work on a stream, to run at a synchronisation; on none, it runs
// at once, without waiting for others.
CUresult enqueue(CUstream s, Work w);
CUresult drain(CUstream_st& s);
CUresult drainAll();

// count counts a launch of a kernel, 0, or of a graph, 1.
void count(int which);

// checkRange refuses device memory that is not all of one live allocation.
CUresult checkRange(const char* call, CUdeviceptr p, size_t n);

Invoke find(const std::string& kernel);

} // namespace fake

#define EXPORT extern "C" __attribute__((visibility("default")))
