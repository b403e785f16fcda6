#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace penstock::detail {

void check_failed(const char* file, int line, const char* expression, const std::string& operands) {
  std::fprintf(stderr, "%s:%d: check failed: %s %s\n", file, line, expression, operands.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace penstock::detail
