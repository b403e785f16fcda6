// Runs hostile inputs: each must end in one short line and kBadInput, and must not make the reader allocate more than a
// file of its size can call for. Counts them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <string>

#include "core/error.h"

namespace penstock {

// Bytes of the largest single allocation of this thread since start_watching_allocations().
void start_watching_allocations();
size_t largest_allocation();

class HostileCases {
 public:
  // `input_bytes`: size of what is read. `call` reads it.
  void refuse(const std::string& what, size_t input_bytes, const std::function<void()>& call) {
    ++count_;
    start_watching_allocations();
    try {
      call();
      ADD_FAILURE() << what << ": was accepted";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(ExitCode::kBadInput)) << what << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << what << ": " << message;
      EXPECT_LT(message.size(), 1000u) << what << ": " << message;
    }
    // A parsed JSON value takes up to 16 bytes for one of text, and buffers grow by doubling.
    EXPECT_LE(largest_allocation(), 64 * 1024 + 32 * input_bytes) << what;
  }
  int count() const { return count_; }

 private:
  int count_ = 0;
};

}  // namespace penstock
