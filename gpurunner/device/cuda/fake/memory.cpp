#include "memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "fibers.h"

namespace fake {
namespace {

const size_t PAGE = 4096;
const size_t ARENA = size_t(1) << 42;
const unsigned char CANARY = 0xc5;

struct Piece {
  uint64_t start; // of the first page
  size_t pages, size;
  bool live;
};

std::mutex lock;
std::map<uint64_t, Piece> pieces; // by address, live and dead
uint64_t arena, next;
size_t inUse;

Piece* find(uint64_t address) {
  auto i = pieces.upper_bound(address);
  if (i == pieces.begin()) return nullptr;
  return &(--i)->second;
}

uint64_t addressOf(const Piece& p) { return p.start + p.pages * PAGE - ((p.size + 15) & ~size_t(15)); }

bool intact(const Piece& p) {
  const unsigned char *from = (unsigned char*)p.start, *to = (unsigned char*)addressOf(p), *end = (unsigned char*)p.start + p.pages * PAGE;
  for (const unsigned char* c = from; c < to; c++)
    if (*c != CANARY) return false;
  for (const unsigned char* c = to + p.size; c < end; c++)
    if (*c != CANARY) return false;
  return true;
}

} // namespace

uint64_t allocate(size_t size, size_t limit) {
  std::lock_guard<std::mutex> hold(lock);
  if (!arena) {
    void* p = mmap(nullptr, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return 0;
    arena = next = (uint64_t)p;
  }
  if (size > limit || inUse + size > limit) return 0;
  Piece p = {next, (size + 15 + PAGE - 1) / PAGE, size, true};
  if (next + (p.pages + 1) * PAGE > arena + ARENA) return 0;
  if (mprotect((void*)p.start, p.pages * PAGE, PROT_READ | PROT_WRITE)) return 0;
  next += (p.pages + 1) * PAGE;
  uint64_t a = addressOf(p);
  memset((void*)p.start, CANARY, a - p.start);
  memset((void*)a, 0xff, size); // NaN
  memset((void*)(a + size), CANARY, p.start + p.pages * PAGE - a - size);
  pieces[a] = p;
  inUse += size;
  return a;
}

bool release(uint64_t address, std::string& why) {
  std::lock_guard<std::mutex> hold(lock);
  auto i = pieces.find(address);
  if (i == pieces.end()) {
    why = "free of an address that was never allocated";
    return false;
  }
  Piece& p = i->second;
  if (!p.live) {
    why = "free of memory that was freed before";
    return false;
  }
  if (!intact(p)) why = "the memory around an allocation of " + std::to_string(p.size) + " bytes was written to";
  // A fresh mapping rather than mprotect, so that neighbours become one.
  mmap((void*)p.start, p.pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  p.live = false;
  inUse -= p.size;
  return why.empty();
}

bool holds(uint64_t address, size_t size) {
  std::lock_guard<std::mutex> hold(lock);
  Piece* p = find(address);
  return p && p->live && address + size <= addressOf(*p) + p->size;
}

bool inArena(uint64_t address) { return arena && address >= arena && address < arena + ARENA; }

bool range(uint64_t address, uint64_t& base, size_t& size) {
  std::lock_guard<std::mutex> hold(lock);
  Piece* p = find(address);
  if (!p || !p->live || address >= addressOf(*p) + p->size) return false;
  base = addressOf(*p);
  size = p->size;
  return true;
}

void releaseAll() {
  std::lock_guard<std::mutex> hold(lock);
  for (auto& i : pieces)
    if (i.second.live) {
      mmap((void*)i.second.start, i.second.pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
      i.second.live = false;
    }
  inUse = 0;
}

std::string overrun(uint64_t address) {
  std::lock_guard<std::mutex> hold(lock);
  Piece* p = find(address);
  if (!p || !p->live || intact(*p)) return "";
  return "the memory around an allocation of " + std::to_string(p->size) + " bytes was written to";
}

size_t used() {
  std::lock_guard<std::mutex> hold(lock);
  return inUse;
}

std::string describe(const void* at) {
  uint64_t a = (uint64_t)at;
  char s[200];
  if (!inArena(a)) {
    snprintf(s, sizeof s, "address %#llx, which is not device memory", (unsigned long long)a);
    return s;
  }
  std::lock_guard<std::mutex> hold(lock);
  Piece* p = find(a);
  if (!p) return "device memory before the first allocation";
  uint64_t base = addressOf(*p);
  if (a >= base + p->size)
    snprintf(s, sizeof s, "device memory %llu bytes past the end of an allocation of %zu bytes%s", (unsigned long long)(a - base - p->size), p->size,
             p->live ? "" : " that was freed");
  else
    snprintf(s, sizeof s, "byte %llu of an allocation of %zu bytes %s", (unsigned long long)(a - base), p->size,
             p->live ? "(the page before it)" : "that was freed");
  return s;
}

} // namespace fake
