// The embedding lives on the host: its rows are gathered for a micro-batch, and the gradients of its rows are summed.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "core/worker_team.h"
#include "data/step_batch.h"
#include "streaming/model_memory.h"

namespace penstock {

// The embedding's rows inside the wire weights of the layer that owns them.
std::span<const std::byte> embedding_table(const ModelMemory& memory, std::span<const std::byte> wire);

// output[i] = table[tokens[i]], `columns` elements each, converted from `table_dtype` to `output_dtype`.
void gather_rows(std::span<const std::byte> table, DType table_dtype, std::span<const int32_t> tokens, int64_t columns,
                 std::span<std::byte> output, DType output_dtype, WorkerTeam& team);

// One micro-batch's d(loss)/d(embedding output), [B*T, columns].
struct RowGradients {
  std::span<const int32_t> tokens;
  std::span<const std::byte> bytes;
};

// All micro-batches of a step. The padding token's row gets no gradient, as in torch.nn.Embedding with a padding_idx,
// which transformers gives every model that has a pad_token_id.
struct StepRows {
  std::span<const RowGradients> parts;
  DType dtype = DType::kFloat32;
  int64_t columns = 0;
  int64_t padding_token = -1;  // -1: none
};

// gradient[row] = fp32 sum over every occurrence of token `row` in all micro-batches, in the order of occurrence, then
// one cast to `gradient_dtype`. touched[row] = 1 for those rows and 0 for the others, whose bytes are not written.
void scatter_rows(const StepRows& rows, std::span<std::byte> gradient, DType gradient_dtype, std::span<uint8_t> touched,
                  WorkerTeam& team);

// For a gradient that the head shares: gradient[row] = cast(gradient[row] + that fp32 sum), other rows keep theirs.
void add_row_sums(const StepRows& rows, std::span<std::byte> gradient, DType gradient_dtype, WorkerTeam& team);

}  // namespace penstock
