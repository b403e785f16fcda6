#include "app/evaluation.h"

#include <cmath>
#include <numbers>

#include "core/check.h"
#include "core/error.h"
#include "data/evaluation_stream.h"

namespace penstock {

EvaluationResult evaluate_documents(DocumentSelection documents, const DatasetOptions& options, int64_t token_limit,
                                    const BatchEvaluator& evaluator) {
  CHECK(!documents.documents->empty());
  EvaluationStream stream(documents, options);
  LossSums sums;
  int64_t target_bytes = 0;
  while (!stream.done() && (token_limit == 0 || sums.trained_tokens < token_limit)) {
    const StepBatch batch = stream.next();
    const LossSums part = evaluator(batch.micro_batches);
    sums.loss_sum += part.loss_sum;
    sums.trained_tokens += part.trained_tokens;
    target_bytes += batch.target_bytes;
  }
  if (sums.trained_tokens == 0) {
    throw Error(ExitCode::kBadInput,
                "the validation documents have no trained tokens; check dataset.val_size and labels");
  }
  EvaluationResult result;
  result.trained_tokens = sums.trained_tokens;
  result.loss = sums.loss_sum / static_cast<double>(sums.trained_tokens);
  result.perplexity = std::exp(result.loss);
  if (target_bytes > 0) result.bits_per_byte = sums.loss_sum / std::numbers::ln2 / static_cast<double>(target_bytes);
  return result;
}

}  // namespace penstock
