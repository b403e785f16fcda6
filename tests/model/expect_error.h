// Expects Error with an exit code and every given part in its message, which must be one line.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"

namespace penstock {

inline void expect_error(ExitCode code, const std::vector<std::string>& parts, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "no error; expected one with \"" << (parts.empty() ? "" : parts.front()) << "\"";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << message;
    for (const std::string& part : parts) EXPECT_THAT(message, testing::HasSubstr(part));
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

}  // namespace penstock
