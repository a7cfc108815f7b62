// How a kernel is found by its name and called with its arguments. fake.sh
// writes the list of names, kernels.inc, from the sources.
#pragma once
#include "fibers.h"
#include <utility>

namespace fake {

template <class... A, size_t... I>
void invoke(void (*f)(A...), void* const* arguments, std::index_sequence<I...>) {
  f(*(A*)arguments[I]...);
}


template <class... A>
void callWith(void (*f)(A...), void* const* arguments) {
  invoke(f, arguments, std::index_sequence_for<A...>());
}

struct Named {
  const char* name;
  Invoke invoke;
};

// A family's kernels, ended by a null name.
#define LOWRANK_KERNEL(name) {#name, [](void* const* a) { fake::callWith(&::name, a); }},

} // namespace fake
