// The message of the bad-input error that a call must throw.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace penstock {

template <typename Call>
std::string bad_input_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace penstock
