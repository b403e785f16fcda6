// Checks for bugs in Penstock itself: always on, they print both operands and abort.
// Not for bad input or a bad environment: those throw Error (core/error.h). Never inside element loops.
#pragma once

#include <sstream>
#include <string>

namespace penstock::detail {

[[noreturn]] void check_failed(const char* file, int line, const char* expression, const std::string& operands);

template <typename A, typename B>
[[noreturn]] void check_operands_failed(const char* file, int line, const char* expression, const A& a, const B& b) {
  std::ostringstream text;
  text << "(" << +a << " vs " << +b << ")";
  check_failed(file, line, expression, text.str());
}

}  // namespace penstock::detail

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) ::penstock::detail::check_failed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define PENSTOCK_CHECK_OP(op, a, b)                                                                       \
  do {                                                                                                    \
    const auto& check_a = (a);                                                                            \
    const auto& check_b = (b);                                                                            \
    if (!(check_a op check_b))                                                                            \
      ::penstock::detail::check_operands_failed(__FILE__, __LINE__, #a " " #op " " #b, check_a, check_b); \
  } while (false)

#define CHECK_EQ(a, b) PENSTOCK_CHECK_OP(==, a, b)
#define CHECK_NE(a, b) PENSTOCK_CHECK_OP(!=, a, b)
#define CHECK_LT(a, b) PENSTOCK_CHECK_OP(<, a, b)
#define CHECK_LE(a, b) PENSTOCK_CHECK_OP(<=, a, b)
#define CHECK_GT(a, b) PENSTOCK_CHECK_OP(>, a, b)
#define CHECK_GE(a, b) PENSTOCK_CHECK_OP(>=, a, b)
