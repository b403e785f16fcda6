// The embedding lives on the host: its rows are gathered for a micro-batch, and the gradients of its rows are summed.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "core/worker_team.h"
#include "data/step_batch.h"

namespace penstock {

// output[i] = table[tokens[i]], `columns` elements each, converted from `table_dtype` to `output_dtype`.
void gather_rows(std::span<const std::byte> table, DType table_dtype, std::span<const int32_t> tokens, int64_t columns,
                 std::span<std::byte> output, DType output_dtype, WorkerTeam& team);

// One micro-batch's d(loss)/d(embedding output), [B*T, columns] in `dtype`.
struct RowGradients {
  std::span<const int32_t> tokens;
  std::span<const std::byte> bytes;
};

// gradient[row] = fp32 sum over every occurrence of token `row` in all micro-batches, in the order of occurrence, then
// one cast to `gradient_dtype`. touched[row] = 1 for those rows and 0 for the others, whose bytes are not written.
void scatter_rows(std::span<const RowGradients> parts, DType dtype, int64_t columns, std::span<std::byte> gradient,
                  DType gradient_dtype, std::span<uint8_t> touched, WorkerTeam& team);

}  // namespace penstock
