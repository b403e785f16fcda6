#include "streaming/embedding_rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/bf16.h"
#include "core/check.h"

namespace penstock {
namespace {

constexpr int64_t kTokensPerBlock = 64;

struct Occurrence {
  int32_t token;
  uint32_t part;
  int64_t position;
};

void convert_row(const std::byte* from, DType from_dtype, std::byte* to, DType to_dtype, int64_t columns) {
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, static_cast<size_t>(columns) * dtype_bytes(to_dtype));
  } else if (to_dtype == DType::kFloat32) {
    const auto* input = reinterpret_cast<const bf16_bits*>(from);
    auto* output = reinterpret_cast<float*>(to);
    for (int64_t c = 0; c < columns; ++c) output[c] = float_from_bf16(input[c]);
  } else {
    const auto* input = reinterpret_cast<const float*>(from);
    auto* output = reinterpret_cast<bf16_bits*>(to);
    for (int64_t c = 0; c < columns; ++c) output[c] = bf16_from_float(input[c]);
  }
}

void add_row(const std::byte* from, DType dtype, std::span<float> sum) {
  if (dtype == DType::kFloat32) {
    const auto* input = reinterpret_cast<const float*>(from);
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += input[c];
  } else {
    const auto* input = reinterpret_cast<const bf16_bits*>(from);
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += float_from_bf16(input[c]);
  }
}

// Sorted by token; occurrences of one token stay in order, so that the sum does not depend on threads.
std::vector<Occurrence> sorted_occurrences(std::span<const RowGradients> parts) {
  std::vector<Occurrence> occurrences;
  for (uint32_t part = 0; part < parts.size(); ++part) {
    for (size_t i = 0; i < parts[part].tokens.size(); ++i) {
      occurrences.push_back({parts[part].tokens[i], part, static_cast<int64_t>(i)});
    }
  }
  std::stable_sort(occurrences.begin(), occurrences.end(),
                   [](const Occurrence& a, const Occurrence& b) { return a.token < b.token; });
  return occurrences;
}

}  // namespace

void gather_rows(std::span<const std::byte> table, DType table_dtype, std::span<const int32_t> tokens, int64_t columns,
                 std::span<std::byte> output, DType output_dtype, WorkerTeam& team) {
  const int64_t count = static_cast<int64_t>(tokens.size());
  const int64_t table_row = columns * static_cast<int64_t>(dtype_bytes(table_dtype));
  const int64_t output_row = columns * static_cast<int64_t>(dtype_bytes(output_dtype));
  CHECK_GE(static_cast<int64_t>(output.size()), count * output_row);
  team.run((count + kTokensPerBlock - 1) / kTokensPerBlock, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kTokensPerBlock);
    for (int64_t i = block * kTokensPerBlock; i < end; ++i) {
      const int64_t token = tokens[static_cast<size_t>(i)];
      CHECK_GE(token, 0);
      CHECK_LE((token + 1) * table_row, static_cast<int64_t>(table.size()));
      convert_row(table.data() + token * table_row, table_dtype, output.data() + i * output_row, output_dtype, columns);
    }
  });
}

void scatter_rows(std::span<const RowGradients> parts, DType dtype, int64_t columns, std::span<std::byte> gradient,
                  DType gradient_dtype, std::span<uint8_t> touched, WorkerTeam& team) {
  const std::vector<Occurrence> occurrences = sorted_occurrences(parts);
  std::vector<size_t> starts;  // of each touched row, and the end
  for (size_t i = 0; i < occurrences.size(); ++i) {
    if (i == 0 || occurrences[i].token != occurrences[i - 1].token) starts.push_back(i);
  }
  const int64_t row_count = static_cast<int64_t>(starts.size());
  starts.push_back(occurrences.size());
  std::fill(touched.begin(), touched.end(), uint8_t{0});
  const size_t from_row = static_cast<size_t>(columns) * dtype_bytes(dtype);
  const size_t to_row = static_cast<size_t>(columns) * dtype_bytes(gradient_dtype);
  team.run(row_count, [&](int64_t row) {
    std::vector<float> sum(static_cast<size_t>(columns), 0.0f);
    const size_t begin = starts[static_cast<size_t>(row)];
    for (size_t i = begin; i < starts[static_cast<size_t>(row) + 1]; ++i) {
      const Occurrence& occurrence = occurrences[i];
      add_row(parts[occurrence.part].bytes.data() + static_cast<size_t>(occurrence.position) * from_row, dtype, sum);
    }
    const size_t token = static_cast<size_t>(occurrences[begin].token);
    CHECK_LT(token, touched.size());
    CHECK_LE((token + 1) * to_row, gradient.size());
    touched[token] = 1;
    convert_row(reinterpret_cast<const std::byte*>(sum.data()), DType::kFloat32, gradient.data() + token * to_row,
                gradient_dtype, columns);
  });
}

}  // namespace penstock
