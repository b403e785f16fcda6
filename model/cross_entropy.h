// Cross-entropy over rows of logits, in fp32 inside, one double a row.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace penstock {

// row_losses[i] = -log softmax(logits[i])[targets[i]], 0 where the target is untrained.
// With `turn_into_gradient` the logits become d(scale * sum of losses)/d(logits) in place: zero rows where untrained.
struct CrossEntropyRows {
  int64_t rows, vocab;
  const int32_t* targets;  // [rows]; below vocab or kUntrainedTarget
  void* logits;            // [rows, vocab] in the compute dtype
  double* row_losses;      // [rows]
  bool turn_into_gradient;
  float scale;
};
void cross_entropy(DType dtype, const CrossEntropyRows& rows);

// The same with the vocabulary in parts, one after the other: logits [rows, vocab] are those of the tokens
// [first_token, first_token + vocab). What the parts have in common is three floats a row.
struct LossStatistics {
  float* maximum;          // of the row's logits so far
  float* exponential_sum;  // under that maximum
  float* target_logit;     // once its part was seen
};
struct PartialCrossEntropyRows {
  int64_t rows, vocab, first_token;
  const int32_t* targets;  // [rows], in the whole vocabulary
  void* logits;
  LossStatistics statistics;
};
// Adds the part to the statistics, which the first part (`first_token` 0) begins. Untrained rows get zeros.
void add_loss_statistics(DType dtype, const PartialCrossEntropyRows& rows);
// From complete statistics: the logits become d(scale * sum of losses)/d(logits) in place.
void partial_cross_entropy_gradient(DType dtype, const PartialCrossEntropyRows& rows, float scale);
// row_losses[i] from complete statistics: -log softmax of the target, 0 where it is untrained.
void losses_of_statistics(int64_t rows, const int32_t* targets, const LossStatistics& statistics, double* row_losses);

// *sum = or += the row losses, in order.
void sum_losses(const double* row_losses, int64_t rows, bool accumulate, double* sum);

}  // namespace penstock
