// The threads of a block as fibers: they run one at a time on one processor
// thread and change over at barriers and warp operations only, in an order that
// changes from launch to launch and repeats itself from run to run.
#pragma once
#include <atomic>
#include <mutex>
#include <string>
#include <vector>
#include "host.h"

namespace fake {

typedef void (*Invoke)(void* const* arguments);

// A launch that has been checked and copied.
struct Launch {
  std::string kernel;
  Invoke invoke;
  Index grid, block;
  size_t dynamicShared;
  bool straight; // has neither barrier nor warp operation: no fibers needed
  std::vector<uint64_t> values;
  uint64_t order = 0; // in which the threads run: see Order

  std::atomic<bool> failed{false};
  std::mutex lock;
  std::string error; // of the first thread that failed
};

// run executes every block of a launch and returns what went wrong, or "".
std::string run(Launch& l);

// describe says what lies at an address of device memory.
std::string describe(const void* address);

} // namespace fake
