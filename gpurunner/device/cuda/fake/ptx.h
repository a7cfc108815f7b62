// What the fake driver reads of a module's PTX.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace fake {

struct Entry {
  std::vector<int> parameters; // sizes in bytes
  unsigned maxThreads = 1024;
  size_t sharedBytes = 0;
  bool straight = true; // no barrier and no operation of a warp
};

struct Module {
  int version = 0; // 81 for 8.1
  int target = 0;  // 75 for sm_75
  std::map<std::string, Entry> entries;
};

// parse reads a module; false if it is not PTX.
bool parse(const char* text, Module& m);

} // namespace fake
