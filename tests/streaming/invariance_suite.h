// Policies that change only speed or memory must not change a bit of the loss sequence or of the final state, on any
// device. One suite; each platform instantiates it with its models.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "tiny_run.h"

namespace penstock {

struct InvarianceCase {
  StateFormat format;
  DType compute;
  std::string family = "llama";
  int head_parts = 1;
  TrainablePatterns trainable = {};
  Platform platform = host_platform();
};

// Instead of its bytes.
inline void PrintTo(const InvarianceCase& tested, std::ostream* out) { *out << tested.family; }

// Every family, format and switch.
std::vector<InvarianceCase> invariance_cases(const Platform& platform);
std::string invariance_case_name(const testing::TestParamInfo<InvarianceCase>& info);

class Invariance : public testing::TestWithParam<InvarianceCase> {
 protected:
  void SetUp() override {
    if (!GetParam().platform.missing.empty()) GTEST_SKIP() << GetParam().platform.missing;
  }
  TinySettings base() const;
};

}  // namespace penstock
