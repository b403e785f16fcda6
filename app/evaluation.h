// Loss over the validation documents, the same for `penstock eval` and for a training run.
#pragma once

#include <functional>

#include "app/run_setup.h"

namespace penstock {

struct EvaluationResult {
  double loss = 0;  // nats per trained token
  double perplexity = 0;
  double bits_per_byte = 0;  // 0 where targets are not bytes of text
  int64_t trained_tokens = 0;
};

// Sums losses of one step's micro-batches: the trainer's evaluate or that of an evaluation engine.
using BatchEvaluator = std::function<LossSums(std::span<const MicroBatch>)>;

// `token_limit` > 0 ends the pass after so many trained tokens. CHECKs that there are validation documents.
EvaluationResult evaluate_documents(DocumentSelection documents, const DatasetOptions& options, int64_t token_limit,
                                    const BatchEvaluator& evaluator);

}  // namespace penstock
