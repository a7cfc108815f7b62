#include "fibers.h"

#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <thread>

#ifndef __x86_64__
#error "the fibers are written for x86-64"
#endif

// fake_switch keeps the callee-saved registers and the stack pointer in *from
// and goes on where the stack pointer to was kept.
extern "C" void fake_switch(void** from, void* to);
asm(R"(
.text
.globl fake_switch
.hidden fake_switch
.type fake_switch, @function
fake_switch:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
.size fake_switch, .-fake_switch
)");

namespace fake {

thread_local Thread* current;

namespace {

const int MAX_THREADS = 1024;
const size_t STACK = 64 << 10;
const size_t PAGE = 4096;
const size_t MAX_SHARED = 256 << 10;

// Gate holds fibers until its count changes.
struct Gate {
  unsigned count = 0;
  int arrived = 0;
  const char* file = nullptr; // where the first to arrive did
  int line = 0;
};

struct Warp {
  Gate gate;
  int lanes = 0, gone = 0;
  unsigned phase = 0;
  Lanes slots[2];
};

struct Copy {
  void* to;
  const void* from;
  int size;
};

struct Fiber {
  Thread thread;
  std::vector<Copy> copies; // asynchronous ones, not waited for yet
  void* sp = nullptr;
  char* stack = nullptr;
  const Gate* gate = nullptr;
  unsigned passed = 0; // gate's count when the fiber came to it
  bool done = false;
};

// Order is in which order a launch's threads run between barriers, another with
// every launch: what works in one order only is a race. It follows from the
// number of the launch, so that a run repeats itself exactly.
struct Order {
  uint64_t state;
  explicit Order(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t next() { // Marsaglia's xorshift
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
  }
};

struct Runner {
  Fiber fibers[MAX_THREADS];
  int order[MAX_THREADS], turn[MAX_THREADS]; // of the threads, and the turn of each
  Warp warps[MAX_THREADS / 32];
  Gate gate;
  int threads = 0, gone = 0, running = 0;
  void* base = nullptr; // stack pointer of run
  Launch* launch = nullptr;
  void* arguments[64];
  char* shared; // MAX_SHARED bytes, then a guard page
  void* dynamic;
  bool inKernel = false;
  const void* faultAddress = nullptr;
  bool faultWrite = false;
  void* nowhere;

  Runner();
  void block(Launch& l, Index at, uint64_t number);
  void shuffle(uint64_t seed);
  void yield();
  void leave();
  [[noreturn]] void fail(const std::string& what);
};

thread_local Runner* runner;

std::string place(const Thread& t) {
  char s[160];
  snprintf(s, sizeof s, "block (%u,%u,%u), thread (%u,%u,%u)", t.block.x, t.block.y, t.block.z, t.thread.x, t.thread.y, t.thread.z);
  return s;
}

[[noreturn]] void entry() {
  Runner& r = *runner;
  Launch& l = *r.launch;
  if (l.straight) {
    Thread& t = r.fibers[0].thread;
    for (int n = 0; n < r.threads; n++) {
      int i = r.order[n];
      t.thread = Index{i % l.block.x, i / l.block.x % l.block.y, i / l.block.x / l.block.y};
      l.invoke(r.arguments);
    }
  } else {
    l.invoke(r.arguments);
  }
  r.leave();
  abort();
}

// A fault in a kernel continues here, on the fiber's own stack.
[[noreturn]] void faulted() {
  Runner& r = *runner;
  r.fail(std::string(r.faultWrite ? "write to " : "read of ") + describe(r.faultAddress));
}

struct sigaction previous[2];

void onFault(int signal, siginfo_t* info, void* context) {
  if (runner && runner->inKernel) {
    ucontext_t* c = (ucontext_t*)context;
    runner->faultAddress = info->si_addr;
    runner->faultWrite = c->uc_mcontext.gregs[REG_ERR] & 2;
    // As if faulted had been called: past the red zone, the stack as after a call.
    c->uc_mcontext.gregs[REG_RSP] = ((c->uc_mcontext.gregs[REG_RSP] - 256) & ~15ll) - 8;
    c->uc_mcontext.gregs[REG_RIP] = (greg_t)faulted;
    return;
  }
  struct sigaction& p = previous[signal == SIGBUS];
  if (p.sa_flags & SA_SIGINFO) return p.sa_sigaction(signal, info, context);
  if (p.sa_handler == SIG_DFL) {
    ::signal(signal, SIG_DFL);
    return; // and fault again
  }
  if (p.sa_handler != SIG_IGN) p.sa_handler(signal);
}

void catchFaults() {
  struct sigaction a = {};
  a.sa_sigaction = onFault;
  a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &a, &previous[0]);
  sigaction(SIGBUS, &a, &previous[1]);
}

char* map(size_t n) {
  void* p = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("fake CUDA: mmap");
    abort();
  }
  return (char*)p;
}

Runner::Runner() {
  for (Fiber& f : fibers) {
    f.stack = map(STACK);
    mprotect(f.stack, PAGE, PROT_NONE);
  }
  shared = map(MAX_SHARED + PAGE);
  mprotect(shared + MAX_SHARED, PAGE, PROT_NONE);
  stack_t s = {};
  s.ss_size = 64 << 10;
  s.ss_sp = map(s.ss_size);
  sigaltstack(&s, nullptr);
}

// ordered says that threads run as they are numbered: FAKE_CUDA_ORDERED, to see
// whether a failure comes from a race.
bool ordered() {
  static const bool is = getenv("FAKE_CUDA_ORDERED");
  return is;
}

// shuffle makes the order of a block's threads: every fourth as they are
// numbered, every fourth backwards, the others in none.
void Runner::shuffle(uint64_t seed) {
  Order o(seed);
  uint32_t kind = ordered() ? 0 : o.next() % 4;
  for (int i = 0; i < threads; i++) order[i] = kind == 1 ? threads - 1 - i : i;
  if (kind > 1)
    for (int i = threads - 1; i > 0; i--) std::swap(order[i], order[o.next() % (i + 1)]);
  for (int i = 0; i < threads; i++) turn[order[i]] = i;
}

void Runner::block(Launch& l, Index at, uint64_t number) {
  launch = &l;
  threads = l.block.x * l.block.y * l.block.z;
  shuffle(l.order * 1000003 + number);
  gone = 0;
  gate = Gate();
  for (int w = 0; w < (threads + 31) / 32; w++) {
    warps[w].gate = Gate();
    warps[w].lanes = std::min(32, threads - 32 * w);
    warps[w].gone = 0;
  }
  for (size_t i = 0; i < l.values.size(); i++) arguments[i] = &l.values[i];
  // Fresh shared memory holds NaN, and ends at the guard page.
  size_t bytes = (l.dynamicShared + 15) & ~size_t(15);
  dynamic = shared + MAX_SHARED - bytes;
  memset(dynamic, 0xff, bytes);
  for (int i = 0; i < (l.straight ? 1 : threads); i++) {
    Fiber& f = fibers[i];
    f.thread = Thread{{i % l.block.x, i / l.block.x % l.block.y, i / l.block.x / l.block.y}, at, l.block, l.grid};
    f.gate = nullptr;
    f.done = false;
    f.copies.clear();
    void** sp = (void**)(f.stack + STACK - 64);
    *--sp = nullptr; // where entry would return to
    *--sp = (void*)entry;
    sp -= 6;
    f.sp = sp;
  }
  running = l.straight ? 0 : order[0];
  current = &fibers[running].thread;
  inKernel = true;
  fake_switch(&base, fibers[running].sp);
  inKernel = false;
}

// yield lets the next fiber run that may.
void Runner::yield() {
  int me = running;
  for (int n = 1; n <= threads; n++) {
    int at = turn[me] + n;
    if (at >= threads) at -= threads;
    int i = order[at];
    Fiber& f = fibers[i];
    if (f.done || (f.gate && f.gate->count == f.passed)) continue;
    f.gate = nullptr;
    if (i == me) return;
    running = i;
    current = &f.thread;
    fake_switch(&fibers[me].sp, f.sp);
    return;
  }
  if (gone == threads) {
    fake_switch(&nowhere, base);
    return;
  }
  fail("all threads wait, some at a barrier, some at a warp operation");
}

// leave ends the running fiber.
void Runner::leave() {
  if (launch->straight) fake_switch(&nowhere, base);
  if (!fibers[running].copies.empty()) fail("this thread ended with an asynchronous copy that it did not wait for");
  fibers[running].done = true;
  gone++;
  Warp& w = warps[running / 32];
  w.gone++;
  if (gate.arrived > 0)
    fail("a barrier that not all threads reach: this thread ended while others wait at " + std::string(gate.file) + ":" +
         std::to_string(gate.line));
  if (w.gate.arrived > 0) fail("a warp operation that not all lanes reach: this thread ended while others wait at " + std::string(w.gate.file));
  yield();
}

void Runner::fail(const std::string& what) {
  {
    std::lock_guard<std::mutex> hold(launch->lock);
    if (!launch->failed.exchange(true)) launch->error = "kernel " + launch->kernel + ", " + place(*current) + ": " + what;
  }
  fake_switch(&nowhere, base);
  abort();
}

} // namespace

void barrier(const char* file, int line) {
  Runner& r = *runner;
  if (r.launch->straight) r.fail("a barrier in a kernel whose PTX has none: is the PTX older than its source?");
  if (r.gone > 0) r.fail("a barrier that not all threads reach: others have ended");
  Gate& g = r.gate;
  if (g.arrived++ == 0) {
    g.file = file;
    g.line = line;
  } else if (g.line != line) {
    r.fail("a barrier that not all threads reach: this one waits at line " + std::to_string(line) + ", others at " + std::to_string(g.line));
  }
  if (g.arrived == r.threads) {
    g.arrived = 0;
    g.count++;
  } else {
    Fiber& f = r.fibers[r.running];
    f.gate = &g;
    f.passed = g.count;
  }
  r.yield();
}

const unsigned char* collective(const void* mine, int size, Collective f, int argument, const char* what) {
  Runner& r = *runner;
  if (r.launch->straight) r.fail("a warp operation in a kernel whose PTX has none: is the PTX older than its source?");
  Warp& w = r.warps[r.running / 32];
  int lane = r.running % 32;
  if (w.gone > 0 || w.lanes != 32) r.fail(std::string("a warp operation that not all lanes reach: ") + what);
  Gate& g = w.gate;
  Lanes& slots = w.slots[w.phase & 1];
  if (size) memcpy(slots[lane], mine, size);
  if (g.arrived++ == 0)
    g.file = what;
  else if (g.file != what)
    r.fail(std::string("lanes of one warp at different operations: ") + what + " and " + g.file);
  if (g.arrived == 32) {
    if (f) f(slots, argument);
    g.arrived = 0;
    g.count++;
    w.phase++;
  } else {
    Fiber& fiber = r.fibers[r.running];
    fiber.gate = &g;
    fiber.passed = g.count;
    r.yield();
  }
  return slots[lane];
}

void later(void* to, const void* from, int size) { runner->fibers[runner->running].copies.push_back({to, from, size}); }

void arrive() {
  auto& copies = runner->fibers[runner->running].copies;
  for (const Copy& c : copies)
    if (c.from)
      memcpy(c.to, c.from, c.size);
    else
      memset(c.to, 0, c.size);
  copies.clear();
}

void aligned(const void* p, int n, const char* what) {
  if ((uintptr_t)p % n) runner->fail(std::string(what) + " at an address that is no multiple of " + std::to_string(n));
}

void* dynamic_shared() { return runner->dynamic; }

namespace {

// Static shared memory is thread-local memory of this library. spoil fills it with
// NaN, FAKE_CUDA_SPOIL, so that what a block reads of it without writing shows; a
// megabyte for every launch, so it is not always done.
struct Segment {
  char* start = nullptr;
  size_t size = 0;
};

int findSegment(dl_phdr_info* info, size_t, void* out) {
  const char* mine = (const char*)&current;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& h = info->dlpi_phdr[i];
    char* start = (char*)info->dlpi_tls_data;
    if (h.p_type == PT_TLS && start && mine >= start && mine < start + h.p_memsz) *(Segment*)out = Segment{start, h.p_memsz};
  }
  return 0;
}

void spoil() {
  static const bool wanted = getenv("FAKE_CUDA_SPOIL");
  if (!wanted) return;
  Segment s;
  dl_iterate_phdr(findSegment, &s);
  Runner* mine = runner;
  memset(s.start, 0xff, s.size);
  asm volatile("" : "=m"(runner)); // that it was overwritten is not for the compiler to see
  runner = mine;
  current = nullptr;
}

// The processor threads that run blocks. They live as long as the process.
struct Crew {
  std::mutex lock;
  std::condition_variable wake, idle;
  Launch* launch = nullptr;
  uint64_t round = 0, blocks = 0;
  std::atomic<uint64_t> next{0};
  unsigned busy = 0, size = 0;

  Crew() {
    catchFaults();
    const char* n = getenv("FAKE_CUDA_THREADS");
    size = n ? atoi(n) : std::thread::hardware_concurrency();
    if (size < 1) size = 1;
    for (unsigned i = 0; i < size; i++) std::thread([this] { work(); }).detach();
  }

  void work() {
    // Go's signals belong to Go's threads.
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    runner = new Runner;
    uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock<std::mutex> hold(lock);
        wake.wait(hold, [&] { return round != seen; });
        seen = round;
      }
      Launch& l = *launch;
      spoil();
      for (uint64_t n; (n = next++) < blocks;) {
        uint64_t i = l.order % 2 ? blocks - 1 - n : n;
        if (!l.failed) runner->block(l, Index{unsigned(i % l.grid.x), unsigned(i / l.grid.x % l.grid.y), unsigned(i / l.grid.x / l.grid.y)}, i);
      }
      std::lock_guard<std::mutex> hold(lock);
      if (--busy == 0) idle.notify_one();
    }
  }

  void run(Launch& l) {
    std::unique_lock<std::mutex> hold(lock);
    launch = &l;
    blocks = uint64_t(l.grid.x) * l.grid.y * l.grid.z;
    next = 0;
    busy = size;
    round++;
    wake.notify_all();
    idle.wait(hold, [&] { return busy == 0; });
  }
};

} // namespace

std::string run(Launch& l) {
  static Crew* crew = new Crew;
  static uint64_t launches;
  l.order = ordered() ? 0 : launches++;
  crew->run(l);
  return l.error;
}

} // namespace fake
