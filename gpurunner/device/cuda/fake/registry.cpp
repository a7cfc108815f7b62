#include <map>

#include "driver.h"
#include "registry.h"

namespace fake {

#define FAMILY(family) extern const Named family##_kernels[];
#include "families.inc"
#undef FAMILY

Invoke find(const std::string& kernel) {
  static const std::map<std::string, Invoke> all = [] {
    std::map<std::string, Invoke> m;
#define FAMILY(family) \
  for (const Named* k = family##_kernels; k->name; k++) m[k->name] = k->invoke;
#include "families.inc"
#undef FAMILY
    return m;
  }();
  auto i = all.find(kernel);
  return i == all.end() ? nullptr : i->second;
}

} // namespace fake
