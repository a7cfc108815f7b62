// Device memory. Each allocation ends at a guard page, is full of NaN when
// fresh, and its addresses are never used again.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace fake {

uint64_t allocate(size_t size, size_t limit); // 0: no memory
bool release(uint64_t address, std::string& why);
// holds says that [address, address+size) lies within one live allocation.
bool holds(uint64_t address, size_t size);
// inArena says that an address is of device memory, live or not.
bool inArena(uint64_t address);
bool range(uint64_t address, uint64_t& base, size_t& size);
// overrun says that the neighbourhood of the allocation at an address was
// written to, or is "".
std::string overrun(uint64_t address);
size_t used();
void releaseAll();

} // namespace fake
