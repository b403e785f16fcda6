// The head: final norm, lm_head and the token-chunked loss; logits for generation.
#include <algorithm>
#include <cstring>

#include <c10/core/InferenceMode.h>

#include "model/cross_entropy.h"
#include "model/decoder_parts.h"
#include "model/element_casts.h"
#include "model/rms_norm.h"

namespace penstock {

namespace {

struct LossCall {
  MatrixView weight;
  const LossScratch& scratch;
  std::span<float> gradient;  // empty: evaluation
  float loss_scale;
};

// One chunk of rows: its losses' sum, and in training d_input and the head's gradient.
double chunk_loss(const DecoderParts& parts, const LossCall& call, const std::byte* input, std::byte* d_input,
                  std::span<const int32_t> targets, bool accumulate) {
  const DType dtype = parts.shape.compute;
  const int64_t hidden = parts.shape.hidden, vocab = parts.shape.vocab;
  const auto rows = static_cast<int64_t>(targets.size());
  const LossScratch& scratch = call.scratch;
  const bool trains = !call.gradient.empty();
  const MatrixView normed = parts.matrix(scratch.normed, rows, hidden);
  const MatrixView logits = parts.matrix(scratch.logits, rows, vocab);

  rms_norm(dtype, {rows, hidden, static_cast<float>(parts.config.rms_norm_eps), input, scratch.norm_weight, normed.data,
                   scratch.rstd});
  linear(dtype, normed, call.weight, logits);
  cross_entropy(dtype, {vocab, targets, logits.data, scratch.row_losses, trains, call.loss_scale});
  double sum = 0;
  for (int64_t row = 0; row < rows; ++row) sum += scratch.row_losses[row];
  if (!trains) return sum;

  linear_input_gradient(dtype, logits, call.weight, parts.matrix(scratch.d_normed, rows, hidden));
  parts.lm_head.add_gradient(logits, normed, call.gradient, accumulate, scratch.weight_gradient);
  rms_norm_backward(dtype, {.rows = rows,
                            .hidden = hidden,
                            .x = input,
                            .weight = scratch.norm_weight,
                            .rstd = scratch.rstd,
                            .d_normed = scratch.d_normed,
                            .d_skip = nullptr,
                            .d_x = d_input,
                            .normed = nullptr,
                            .partials = scratch.partials,
                            .weight_gradient = call.gradient.data() + parts.final_norm.offset,
                            .accumulate = accumulate});
  return sum;
}

bool any_trained(std::span<const int32_t> targets) {
  return std::any_of(targets.begin(), targets.end(), [](int32_t target) { return target != kUntrainedTarget; });
}

struct LogitsScratch {
  float* norm_weight;
  void* weight;
  void* hidden_rows;
  void* normed;
  float* rstd;
  void* logits;
};

LogitsScratch carve_logits(const DecoderParts& parts, int64_t rows, Carver& carver) {
  const DType dtype = parts.shape.compute;
  LogitsScratch scratch;
  scratch.norm_weight = carver.take<float>(parts.shape.hidden);
  scratch.weight = carver.take_elements(dtype, parts.lm_head.operand_scratch());
  scratch.hidden_rows = carver.take_elements(dtype, rows * parts.shape.hidden);
  scratch.normed = carver.take_elements(dtype, rows * parts.shape.hidden);
  scratch.rstd = carver.take<float>(rows);
  scratch.logits = carver.take_elements(dtype, rows * parts.shape.vocab);
  return scratch;
}

}  // namespace

uint64_t DecoderParts::loss_bytes() const {
  Carver carver;
  carve_loss(shape, std::min(settings.loss_chunk_tokens, max_tokens), lm_head.operand_scratch(),
             lm_head.gradient_scratch(), carver);
  return carver.peak_bytes();
}

uint64_t DecoderParts::logits_bytes() const {
  Carver carver;
  carve_logits(*this, settings.rows, carver);
  return carver.peak_bytes();
}

void Decoder::loss(ConstBytes weights, ConstBytes input, std::span<std::byte> d_input, std::span<float> gradient,
                   bool accumulate, double loss_scale, double* loss_sum, std::span<std::byte> workspace,
                   const BatchView& batch) {
  const c10::InferenceMode no_autograd;
  const DecoderParts& parts = *parts_;
  const int64_t tokens = parts.token_count(batch);
  CHECK_EQ(static_cast<int64_t>(batch.targets.size()), tokens);
  const int64_t chunk_tokens = std::min(parts.settings.loss_chunk_tokens, tokens);
  Carver carver(workspace);
  const LossScratch scratch =
      carve_loss(parts.shape, chunk_tokens, parts.lm_head.operand_scratch(), parts.lm_head.gradient_scratch(), carver);
  parts.load_norm(parts.final_norm, weights, scratch.norm_weight);
  const LossCall call{parts.lm_head.operand(weights, scratch.weight), scratch, gradient,
                      static_cast<float>(loss_scale)};
  const uint64_t row_bytes = static_cast<uint64_t>(parts.shape.hidden) * dtype_bytes(parts.shape.compute);
  double sum = 0;
  bool adds = accumulate;
  for (int64_t first = 0; first < tokens; first += chunk_tokens) {
    const auto begin = static_cast<size_t>(first);
    const auto rows = static_cast<size_t>(std::min(chunk_tokens, tokens - first));
    std::byte* d_rows = gradient.empty() ? nullptr : d_input.data() + begin * row_bytes;
    const std::span<const int32_t> targets = batch.targets.subspan(begin, rows);
    if (any_trained(targets)) {
      sum += chunk_loss(parts, call, input.data() + begin * row_bytes, d_rows, targets, adds);
      adds = true;
    } else if (d_rows != nullptr) {
      std::memset(d_rows, 0, rows * row_bytes);
    }
  }
  if (!adds && !gradient.empty()) std::memset(gradient.data(), 0, gradient.size_bytes());
  *loss_sum = sum;
}

void Decoder::logits(ConstBytes weights, ConstBytes input, std::span<const int32_t> last_positions,
                     std::span<float> logits, std::span<std::byte> workspace, const BatchView& batch) {
  const c10::InferenceMode no_autograd;
  const DecoderParts& parts = *parts_;
  parts.token_count(batch);
  const DType dtype = parts.shape.compute;
  const int64_t rows = batch.rows, hidden = parts.shape.hidden, vocab = parts.shape.vocab;
  CHECK_EQ(static_cast<int64_t>(last_positions.size()), rows);
  CHECK_EQ(static_cast<int64_t>(logits.size()), rows * vocab);
  Carver carver(workspace);
  const LogitsScratch scratch = carve_logits(parts, rows, carver);
  const uint64_t row_bytes = static_cast<uint64_t>(hidden) * dtype_bytes(dtype);
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t position = last_positions[static_cast<size_t>(row)];
    CHECK_LT(position, batch.length);
    std::memcpy(static_cast<std::byte*>(scratch.hidden_rows) + static_cast<uint64_t>(row) * row_bytes,
                input.data() + static_cast<uint64_t>(row * batch.length + position) * row_bytes, row_bytes);
  }
  parts.load_norm(parts.final_norm, weights, scratch.norm_weight);
  rms_norm(dtype, {rows, hidden, static_cast<float>(parts.config.rms_norm_eps), scratch.hidden_rows,
                   scratch.norm_weight, scratch.normed, scratch.rstd});
  linear(dtype, parts.matrix(scratch.normed, rows, hidden), parts.lm_head.operand(weights, scratch.weight),
         parts.matrix(scratch.logits, rows, vocab));
  cast_elements(dtype, scratch.logits, DType::kFloat32, logits.data(), rows * vocab);
}

}  // namespace penstock
