#include "streaming/embedding_rows.h"

#include <gtest/gtest.h>

#include "core/bf16.h"
#include "core/random.h"

namespace penstock {
namespace {

TEST(ScatterRows, SumsInOrderAndCastsOnce) {
  constexpr int64_t kColumns = 5;
  constexpr int64_t kRows = 11;
  constexpr int64_t kPadding = 4;  // occurs, and gets nothing
  const CounterRandom random(3, 0);
  std::vector<std::vector<int32_t>> tokens(3);
  std::vector<std::vector<float>> values(3);
  for (size_t part = 0; part < tokens.size(); ++part) {
    for (uint64_t i = 0; i < 17; ++i)
      tokens[part].push_back(static_cast<int32_t>(random.below(part * 100 + i, kRows - 1)));
    for (uint64_t i = 0; i < 17 * kColumns; ++i) values[part].push_back(random.normal(part * 1000 + i));
  }
  std::vector<RowGradients> parts;
  for (size_t part = 0; part < tokens.size(); ++part) {
    parts.push_back({tokens[part], std::as_bytes(std::span(values[part]))});
  }
  for (int threads : {1, 3}) {
    WorkerTeam team(threads);
    std::vector<bf16_bits> gradient(kRows * kColumns, 0x1234);
    std::vector<uint8_t> touched(kRows, 9);
    const StepRows rows{parts, DType::kFloat32, kColumns, kPadding};
    scatter_rows(rows, std::as_writable_bytes(std::span(gradient)), DType::kBFloat16, touched, team);
    std::vector<bf16_bits> shared(kRows * kColumns, bf16_from_float(2.5f));
    add_row_sums(rows, std::as_writable_bytes(std::span(shared)), DType::kBFloat16, team);
    for (int64_t row = 0; row < kRows; ++row) {
      bool seen = false;
      for (int64_t column = 0; column < kColumns; ++column) {
        float sum = 0;
        for (size_t part = 0; part < tokens.size(); ++part) {
          for (size_t i = 0; i < tokens[part].size(); ++i) {
            if (tokens[part][i] != row || row == kPadding) continue;
            seen = true;
            sum += values[part][i * kColumns + static_cast<size_t>(column)];
          }
        }
        const bf16_bits expected = seen ? bf16_from_float(sum) : bf16_bits{0x1234};
        EXPECT_EQ(gradient[static_cast<size_t>(row * kColumns + column)], expected) << row << "," << column;
        EXPECT_EQ(shared[static_cast<size_t>(row * kColumns + column)], bf16_from_float(seen ? sum + 2.5f : 2.5f));
      }
      EXPECT_EQ(touched[static_cast<size_t>(row)], seen ? 1 : 0);
    }
  }
}

TEST(GatherRows, ConvertsBetweenDtypes) {
  const std::vector<float> table = {1.0f, 2.0f, 3.0f, 4.00390625f, 5.0f, 6.0f};
  const std::vector<int32_t> tokens = {2, 0, 1, 1};
  WorkerTeam team(2);
  std::vector<bf16_bits> narrow(8);
  gather_rows(std::as_bytes(std::span(table)), DType::kFloat32, tokens, 2, std::as_writable_bytes(std::span(narrow)),
              DType::kBFloat16, team);
  EXPECT_EQ(float_from_bf16(narrow[0]), 5.0f);
  EXPECT_EQ(float_from_bf16(narrow[5]), 4.0f);
  std::vector<float> wide(8);
  gather_rows(std::as_bytes(std::span(narrow)), DType::kBFloat16, std::vector<int32_t>{1, 3, 0, 2}, 2,
              std::as_writable_bytes(std::span(wide)), DType::kFloat32, team);
  EXPECT_EQ(wide, (std::vector<float>{1, 2, 3, 4, 5, 6, 3, 4}));
}

}  // namespace
}  // namespace penstock
