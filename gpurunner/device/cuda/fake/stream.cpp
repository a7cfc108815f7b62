// Streams: queues that run at a synchronisation, so that a missing one shows.
#include <stdlib.h>
#include <time.h>

#include <mutex>

#include "driver.h"

using namespace fake;

namespace fake {

CUresult enqueue(CUstream s, Work w) {
  if (!s) return w();
  if (s->capturing)
    s->captured.push_back(std::move(w));
  else
    s->queue.push_back(std::move(w));
  return CUDA_SUCCESS;
}

CUresult drain(CUstream_st& s) {
  while (!s.queue.empty()) {
    Work w = std::move(s.queue.front());
    s.queue.pop_front();
    CUresult r = state.poison != CUDA_SUCCESS ? state.poison : w();
    if (r != CUDA_SUCCESS) {
      if (state.poison == CUDA_SUCCESS) poison(r, "");
      s.queue.clear();
      return r;
    }
  }
  return CUDA_SUCCESS;
}

CUresult drainAll() {
  for (CUstream_st& s : state.streams)
    if (CUresult r = drain(s)) return r;
  return CUDA_SUCCESS;
}

} // namespace fake

static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

EXPORT CUresult cuStreamCreate(CUstream* out, unsigned) {
  Call c;
  if (CUresult r = c.ready("cuStreamCreate")) return r;
  state.streams.emplace_back();
  *out = &state.streams.back();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamDestroy_v2(CUstream s) {
  Call c;
  drain(*s);
  state.streams.remove_if([&](CUstream_st& x) { return &x == s; });
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream s) {
  Call c;
  if (CUresult r = c.ready("cuStreamSynchronize")) return r;
  if (!s) return drainAll();
  if (s->capturing) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  return drain(*s);
}

EXPORT CUresult cuStreamQuery(CUstream s) {
  Call c;
  if (CUresult r = c.ready("cuStreamQuery")) return r;
  return s && !s->queue.empty() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize() {
  Call c;
  if (CUresult r = c.ready("cuCtxSynchronize")) return r;
  return drainAll();
}

EXPORT CUresult cuEventCreate(CUevent* out, unsigned) {
  Call c;
  if (CUresult r = c.ready("cuEventCreate")) return r;
  *out = new CUevent_st;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent e) {
  Call c;
  if (e->stream) drain(*e->stream);
  delete e;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent e, CUstream s) {
  Call c;
  if (CUresult r = c.ready("cuEventRecord")) return r;
  e->stream = s;
  return enqueue(s, [e] {
    e->time = now();
    e->stream = nullptr;
    return CUDA_SUCCESS;
  });
}

EXPORT CUresult cuEventSynchronize(CUevent e) {
  Call c;
  if (CUresult r = c.ready("cuEventSynchronize")) return r;
  return e->stream ? drain(*e->stream) : CUDA_SUCCESS;
}

EXPORT CUresult cuEventQuery(CUevent e) {
  Call c;
  if (CUresult r = c.ready("cuEventQuery")) return r;
  return e->stream ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

EXPORT CUresult cuEventElapsedTime(float* ms, CUevent a, CUevent b) {
  Call c;
  if (a->stream || b->stream) return CUDA_ERROR_NOT_READY;
  *ms = (float)(b->time - a->time);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream s, CUstreamCaptureMode) {
  Call c;
  if (CUresult r = c.ready("cuStreamBeginCapture")) return r;
  if (!s || s->capturing) return CUDA_ERROR_ILLEGAL_STATE;
  s->capturing = true;
  s->captured.clear();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream s, CUgraph* out) {
  Call c;
  if (!s || !s->capturing) return CUDA_ERROR_ILLEGAL_STATE;
  s->capturing = false;
  *out = new CUgraph_st{std::move(s->captured)};
  s->captured.clear();
  return c.ready("cuStreamEndCapture");
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph g, unsigned long long) {
  Call c;
  if (CUresult r = c.ready("cuGraphInstantiate")) return r;
  *out = new CUgraphExec_st{g->work};
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec g, CUstream s) {
  Call c;
  if (CUresult r = c.ready("cuGraphLaunch")) return r;
  if (getenv("FAKE_CUDA_NO_GRAPHS")) return CUDA_ERROR_OUT_OF_MEMORY;
  count(1);
  for (Work& w : g->work)
    if (CUresult r = enqueue(s, w)) return r;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphGetNodes(CUgraph g, CUgraphNode*, size_t* n) {
  Call c;
  *n = g->work.size();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph g) {
  Call c;
  delete g;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec g) {
  Call c;
  if (CUresult r = drainAll()) return r;
  delete g;
  return CUDA_SUCCESS;
}
