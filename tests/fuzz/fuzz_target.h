// What a fuzz target is made of: libFuzzer's entry, and seeds for a replay without libFuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace penstock {

// Good inputs and some that are nearly so.
std::vector<std::string> fuzz_seeds();

// Runs `parse`. Only Error may leave it, with kBadInput and one line of bounded length; a CHECK or another exception
// ends the process.
template <typename Parse>
void expect_value_or_error(const Parse& parse) {
  try {
    parse();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    CHECK(error.code() == ExitCode::kBadInput);
    CHECK(message.find('\n') == std::string_view::npos);
    CHECK_LT(message.size(), size_t{2000});
  }
}

}  // namespace penstock
