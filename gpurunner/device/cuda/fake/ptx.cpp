#include "ptx.h"

#include <cstdlib>
#include <cstring>

namespace fake {
namespace {

int number(const std::string& s, const char* after) {
  size_t i = s.find(after);
  return i == std::string::npos ? 0 : atoi(s.c_str() + i + strlen(after));
}

// parameterSize reads ".param .u64 name" or ".param .align 8 .b8 name[16]".
int parameterSize(const std::string& p) {
  size_t bracket = p.find('[');
  if (bracket != std::string::npos) return atoi(p.c_str() + bracket + 1);
  for (const char* t : {".u64", ".s64", ".b64", ".f64"})
    if (p.find(t) != std::string::npos) return 8;
  for (const char* t : {".u32", ".s32", ".b32", ".f32"})
    if (p.find(t) != std::string::npos) return 4;
  return 0; // refused at launch
}

// sharedBytes adds the ".shared .align 4 .b8 name[4096];" of a text.
size_t sharedBytes(const std::string& s) {
  size_t sum = 0;
  for (size_t i = 0; (i = s.find(".shared .align", i)) != std::string::npos; i++) {
    size_t open = s.find('[', i), end = s.find(';', i);
    if (open < end) sum += atoi(s.c_str() + open + 1);
  }
  return sum;
}

} // namespace

bool parse(const char* text, Module& m) {
  std::string s = text;
  size_t v = s.find(".version ");
  if (v == std::string::npos) return false;
  m.version = atoi(s.c_str() + v + 9) * 10 + atoi(strchr(s.c_str() + v + 9, '.') + 1);
  m.target = number(s, ".target sm_");
  const std::string mark = ".visible .entry ";
  for (size_t i = s.find(mark); i != std::string::npos; i = s.find(mark, i + 1)) {
    size_t name = i + mark.size(), open = s.find('(', name), close = s.find(')', open), body = s.find('{', close);
    Entry e;
    std::string parameters = s.substr(open, close - open);
    for (size_t p = parameters.find(".param"); p != std::string::npos;) {
      size_t next = parameters.find(".param", p + 1);
      e.parameters.push_back(parameterSize(parameters.substr(p, next == std::string::npos ? next : next - p)));
      p = next;
    }
    std::string directives = s.substr(close, body - close);
    if (int n = number(directives, ".maxntid ")) e.maxThreads = n;
    size_t end = s.find(mark, body);
    std::string code = s.substr(body, end == std::string::npos ? end : end - body);
    e.sharedBytes = sharedBytes(code);
    for (const char* word : {"bar.", "barrier.", "shfl.", "mma.", "ldmatrix.", "vote."})
      if (code.find(word) != std::string::npos) e.straight = false;
    m.entries[s.substr(name, open - name)] = e;
  }
  return true;
}

} // namespace fake
