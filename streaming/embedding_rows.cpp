#include "streaming/embedding_rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/bf16.h"
#include "core/check.h"
#include "model/layer_specs.h"
#include "optim/cast_kernels.h"
#include "optim/gradient_accumulation.h"

namespace penstock {
namespace {

constexpr int64_t kTokensPerBlock = 64;

struct Occurrence {
  int32_t token;
  uint32_t part;
  int64_t position;
};

template <typename Value>
std::span<const Value> values(const std::byte* from, size_t count) {
  return {reinterpret_cast<const Value*>(from), count};
}
template <typename Value>
std::span<Value> values(std::byte* to, size_t count) {
  return {reinterpret_cast<Value*>(to), count};
}

void convert_row(const std::byte* from, DType from_dtype, std::byte* to, DType to_dtype, int64_t columns) {
  const auto count = static_cast<size_t>(columns);
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, count * dtype_bytes(to_dtype));
  } else if (to_dtype == DType::kFloat32) {
    cast_to_float(values<bf16_bits>(from, count), values<float>(to, count));
  } else {
    cast_to_bfloat16(values<float>(from, count), values<bf16_bits>(to, count));
  }
}

void add_row(const std::byte* from, DType dtype, std::span<float> sum) {
  if (dtype == DType::kFloat32) {
    accumulate_gradient(values<float>(from, sum.size()), sum);
  } else {
    accumulate_gradient(values<bf16_bits>(from, sum.size()), sum);
  }
}

// Sorted by token; occurrences of one token stay in order, so that the sum does not depend on threads.
std::vector<Occurrence> sorted_occurrences(const StepRows& rows) {
  std::vector<Occurrence> occurrences;
  for (uint32_t part = 0; part < rows.parts.size(); ++part) {
    const std::span<const int32_t> tokens = rows.parts[part].tokens;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] != rows.padding_token) occurrences.push_back({tokens[i], part, static_cast<int64_t>(i)});
    }
  }
  std::stable_sort(occurrences.begin(), occurrences.end(),
                   [](const Occurrence& a, const Occurrence& b) { return a.token < b.token; });
  return occurrences;
}

// Calls use(token, fp32 sum over every occurrence of the token) for each token that occurs, on the team's threads.
template <typename Use>
void for_each_row_sum(const StepRows& rows, WorkerTeam& team, const Use& use) {
  const std::vector<Occurrence> occurrences = sorted_occurrences(rows);
  std::vector<size_t> starts;  // of each touched row, and the end
  for (size_t i = 0; i < occurrences.size(); ++i) {
    if (i == 0 || occurrences[i].token != occurrences[i - 1].token) starts.push_back(i);
  }
  const int64_t row_count = static_cast<int64_t>(starts.size());
  starts.push_back(occurrences.size());
  const size_t row_bytes = static_cast<size_t>(rows.columns) * dtype_bytes(rows.dtype);
  team.run(row_count, [&](int64_t row) {
    std::vector<float> sum(static_cast<size_t>(rows.columns), 0.0f);
    const size_t begin = starts[static_cast<size_t>(row)];
    for (size_t i = begin; i < starts[static_cast<size_t>(row) + 1]; ++i) {
      const Occurrence& occurrence = occurrences[i];
      const std::byte* from = rows.parts[occurrence.part].bytes.data();
      add_row(from + static_cast<size_t>(occurrence.position) * row_bytes, rows.dtype, sum);
    }
    use(static_cast<size_t>(occurrences[begin].token), sum);
  });
}

}  // namespace

std::span<const std::byte> embedding_table(const ModelMemory& memory, std::span<const std::byte> wire) {
  const TensorPlace& rows = embedding_place(memory.layouts());
  const uint64_t element_bytes = dtype_bytes(wire_dtype(memory.format()));
  return wire.subspan(rows.offset * element_bytes, rows.element_count * element_bytes);
}

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

void scatter_rows(const StepRows& rows, std::span<std::byte> gradient, DType gradient_dtype, std::span<uint8_t> touched,
                  WorkerTeam& team) {
  std::fill(touched.begin(), touched.end(), uint8_t{0});
  const size_t row_bytes = static_cast<size_t>(rows.columns) * dtype_bytes(gradient_dtype);
  for_each_row_sum(rows, team, [&](size_t token, std::span<const float> sum) {
    CHECK_LT(token, touched.size());
    CHECK_LE((token + 1) * row_bytes, gradient.size());
    touched[token] = 1;
    convert_row(std::as_bytes(sum).data(), DType::kFloat32, gradient.data() + token * row_bytes, gradient_dtype,
                rows.columns);
  });
}

void add_row_sums(const StepRows& rows, std::span<std::byte> gradient, DType gradient_dtype, WorkerTeam& team) {
  const size_t row_bytes = static_cast<size_t>(rows.columns) * dtype_bytes(gradient_dtype);
  for_each_row_sum(rows, team, [&](size_t token, std::span<float> sum) {
    CHECK_LE((token + 1) * row_bytes, gradient.size());
    std::byte* row = gradient.data() + token * row_bytes;
    add_row(row, gradient_dtype, sum);
    convert_row(std::as_bytes(sum).data(), DType::kFloat32, row, gradient_dtype, rows.columns);
  });
}

}  // namespace penstock
