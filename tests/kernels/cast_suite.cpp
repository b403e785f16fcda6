// Flat arrays and column sums.
#include "kernel_checks.h"

namespace penstock {
namespace {

constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16};

TEST_P(KernelSuite, CastsEqualTheHostsToTheBit) {
  for (const int64_t count : {1, 3, 4, 5, 255, 256, 257, 1023, 1024, 1025, 10007}) {
    std::vector<float> values = random_floats(DType::kFloat32, count, 1);
    const float specials[] = {0.0f,         -0.0f,       INFINITY,    -INFINITY,
                              NAN,          1.00390625f, 1.01171875f, 3.4e38f,
                              1.17549e-38f, 1e-40f,      -1e-40f,     std::bit_cast<float>(0x7f800001u)};
    for (size_t i = 0; i < std::size(specials) && i < values.size(); ++i) values[values.size() - 1 - i] = specials[i];
    std::vector<float> narrow = values;
    for (float& value : narrow) value = as_stored(DType::kBFloat16, value);
    for (const int64_t offset : {0, 1, 2, 4}) {
      const RigValues from(rig(), DType::kFloat32, values, offset);
      const RigValues to(rig(), DType::kBFloat16, count, offset);
      const RigValues back(rig(), DType::kFloat32, count, 4 - offset);
      const RigValues copied(rig(), DType::kBFloat16, count, 3);
      kernels().cast(DType::kFloat32, from.data(), DType::kBFloat16, to.data(), count);
      kernels().cast(DType::kBFloat16, to.data(), DType::kFloat32, back.data(), count);
      kernels().cast(DType::kBFloat16, to.data(), DType::kBFloat16, copied.data(), count);
      expect_same_bits(to.values(), narrow, "to bf16");
      expect_same_bits(back.values(), narrow, "to fp32");
      expect_same_bits(copied.values(), narrow, "copied");
    }
  }
}

TEST_P(KernelSuite, AccumulateAddsOrReplaces) {
  for (const DType dtype : kTypes) {
    for (const int64_t count : {1, 7, 512, 1029, 5003}) {
      const std::vector<float> values = random_floats(dtype, count, 2),
                               start = random_floats(DType::kFloat32, count, 3);
      std::vector<float> expected = values;
      for (size_t i = 0; i < expected.size(); ++i) expected[i] = start[i] + values[i];
      for (const int64_t offset : {0, 1}) {
        const RigValues from(rig(), dtype, values, offset), sum(rig(), DType::kFloat32, start, 2 * offset);
        kernels().accumulate(dtype, from.data(), sum.floats(), true, count);
        expect_same_bits(sum.values(), expected, "added");
        kernels().accumulate(dtype, from.data(), sum.floats(), false, count);
        expect_same_bits(sum.values(), values, "replaced");
      }
    }
  }
}

TEST_P(KernelSuite, NothingToDoIsNoLaunch) {
  const RigValues memory(rig(), DType::kFloat32, std::vector<float>{1, 2, 3});
  kernels().cast(DType::kFloat32, memory.data(), DType::kBFloat16, memory.data(), 0);
  kernels().accumulate(DType::kBFloat16, memory.data(), memory.floats(), true, 0);
  kernels().add_column_sums(DType::kFloat32, {memory.data(), 1, 3, 1, 0, memory.floats(), false});
  expect_same_bits(memory.values(), {1, 2, 3}, "untouched");
}

TEST_P(KernelSuite, ClearAndCopyMoveBytes) {
  const RigValues from(rig(), DType::kFloat32, random_floats(DType::kFloat32, 100, 4));
  const RigValues to(rig(), DType::kFloat32, 100);
  kernels().copy(to.data(), from.data(), 100 * sizeof(float));
  expect_same_bits(to.values(), from.values(), "copied");
  kernels().clear(to.floats() + 1, 98 * sizeof(float));
  std::vector<float> expected(100, 0.0f);
  expected.front() = from.values().front();
  expected.back() = from.values().back();
  expect_same_bits(to.values(), expected, "cleared");
}

TEST_P(KernelSuite, ColumnSumsOfTheAskedColumns) {
  struct Case {
    int64_t rows, row_elements, first_column, columns;
  };
  const Case cases[] = {{1, 8, 0, 8},     {1, 1, 0, 1},       {63, 32, 0, 32},    {64, 33, 1, 32},
                        {65, 100, 3, 97}, {1000, 80, 16, 40}, {333, 257, 0, 257}, {0, 40, 0, 40}};
  for (const DType dtype : kTypes) {
    for (const Case& c : cases) {
      const std::vector<float> values = random_floats(dtype, c.rows * c.row_elements, 5);
      const std::vector<float> start = random_floats(DType::kFloat32, c.columns, 6);
      const RigValues matrix(rig(), dtype, values);
      for (const bool accumulate : {false, true}) {
        const RigValues sums(rig(), DType::kFloat32, start);
        kernels().add_column_sums(
            dtype, {matrix.data(), c.rows, c.row_elements, c.first_column, c.columns, sums.floats(), accumulate});
        std::vector<Expected> expected;
        for (int64_t column = 0; column < c.columns; ++column) {
          double sum = accumulate ? start[static_cast<size_t>(column)] : 0, magnitude = std::abs(sum);
          for (int64_t row = 0; row < c.rows; ++row) {
            const double value = values[static_cast<size_t>(row * c.row_elements + c.first_column + column)];
            sum += value;
            magnitude += std::abs(value);
          }
          expected.push_back({sum, 1e-6 * magnitude});
        }
        SCOPED_TRACE(testing::Message() << dtype_name(dtype) << " rows " << c.rows << " columns " << c.columns);
        expect_within(DType::kFloat32, sums.values(), expected, "sum");
      }
    }
  }
}

}  // namespace
}  // namespace penstock
