// Cross-entropy over rows of logits, in fp32 inside, one double a row.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"

namespace penstock {

// row_losses[i] = -log softmax(logits[i])[targets[i]], 0 where the target is untrained.
// With `turn_into_gradient` the logits become d(scale * sum of losses)/d(logits) in place: zero rows where untrained.
struct CrossEntropyRows {
  int64_t vocab;
  std::span<const int32_t> targets;  // [rows]; below vocab or kUntrainedTarget
  void* logits;                      // [rows, vocab] in the compute dtype
  double* row_losses;                // [rows]
  bool turn_into_gradient;
  float scale;
};
void cross_entropy(DType dtype, const CrossEntropyRows& rows);

}  // namespace penstock
