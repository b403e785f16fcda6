// The head: final norm, lm_head and the token-chunked loss; logits for generation.
#include <algorithm>

#include "model/decoder_parts.h"

namespace penstock {

namespace {

struct LossCall {
  const HeadWeights& head;
  MatrixView weight;
  const LossScratch& scratch;
  std::span<float> gradient;  // empty: the head is frozen
  float loss_scale;
  bool trains;       // false: evaluation
  double* loss_sum;  // in device memory
};

// From the logits' gradient of one chunk: the head's gradient and, where `d_input` is not null, the input's.
void chunk_backward(const DecoderParts& parts, const LossCall& call, const MatrixView& d_logits, const void* input,
                    void* d_input, bool accumulate) {
  const LossScratch& scratch = call.scratch;
  const TensorPlace& norm = call.head.norm;
  const MatrixView d_normed = parts.matrix(scratch.d_normed, d_logits.rows, parts.shape.hidden);
  const bool reaches_norm = d_input != nullptr || norm.spec.trainable;
  if (reaches_norm) parts.maths().linear_input_gradient(parts.shape.compute, d_logits, call.weight, d_normed);
  call.head.lm_head.add_gradient(parts.maths(), d_logits,
                                 parts.matrix(scratch.normed, d_logits.rows, parts.shape.hidden), call.gradient,
                                 accumulate, scratch.weight_gradient);
  if (reaches_norm) parts.final_norm_backward(norm, scratch, d_logits.rows, input, d_input, call.gradient, accumulate);
}

// A run of rows whose logits exist at the same time.
struct LossChunk {
  int64_t rows;
  const std::byte* input;
  std::byte* d_input;      // null: not wanted
  const int32_t* targets;  // in device memory
};

// Adds the rows' losses to the sum (the first chunk of a call begins it) and in training makes their gradients.
void chunk_loss(const DecoderParts& parts, const LossCall& call, const LossChunk& chunk, bool adds_loss,
                bool accumulate) {
  const DType dtype = parts.shape.compute;
  const int64_t hidden = parts.shape.hidden, vocab = call.head.rows.count();
  const int64_t rows = chunk.rows;
  const LossScratch& scratch = call.scratch;
  const MatrixView normed = parts.matrix(scratch.normed, rows, hidden);
  const MatrixView logits = parts.matrix(scratch.logits, rows, vocab);
  Maths& maths = parts.maths();

  maths.rms_norm(dtype, {rows, hidden, static_cast<float>(parts.config.rms_norm_eps), chunk.input, scratch.norm_weight,
                         normed.data, scratch.rstd});
  maths.linear(dtype, normed, call.weight, logits);
  maths.cross_entropy(dtype,
                      {rows, vocab, chunk.targets, logits.data, scratch.row_losses, call.trains, call.loss_scale});
  maths.sum_losses(scratch.row_losses, rows, adds_loss, call.loss_sum);
  if (call.trains) chunk_backward(parts, call, logits, chunk.input, chunk.d_input, accumulate);
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
  scratch.weight = carver.take_bytes(parts.head_operand_bytes);
  scratch.hidden_rows = carver.take_elements(dtype, rows * parts.shape.hidden);
  scratch.normed = carver.take_elements(dtype, rows * parts.shape.hidden);
  scratch.rstd = carver.take<float>(rows);
  scratch.logits = carver.take_elements(dtype, rows * parts.shape.vocab);
  return scratch;
}

}  // namespace

bool any_trained(std::span<const int32_t> targets) {
  return std::any_of(targets.begin(), targets.end(), [](int32_t target) { return target != kUntrainedTarget; });
}

void DecoderParts::final_norm_backward(const TensorPlace& norm, const LossScratch& scratch, int64_t rows,
                                       const void* input, void* d_input, std::span<float> gradient,
                                       bool accumulate) const {
  maths().rms_norm_backward(shape.compute,
                            {.rows = rows,
                             .hidden = shape.hidden,
                             .x = input,
                             .weight = scratch.norm_weight,
                             .rstd = scratch.rstd,
                             .d_normed = scratch.d_normed,
                             .d_skip = nullptr,
                             .d_x = d_input,
                             .normed = nullptr,
                             .partials = scratch.partials,
                             .weight_gradient = norm.spec.trainable ? gradient.data() + norm.offset : nullptr,
                             .accumulate = accumulate});
}

uint64_t DecoderParts::loss_bytes() const {
  Carver carver;
  loss_scratch(max_tokens, carver);
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
  const DecoderParts& parts = *parts_;
  const int64_t tokens = parts.token_count(batch);
  CHECK_EQ(static_cast<int64_t>(batch.targets.size()), tokens);
  CHECK_EQ(parts.heads.size(), 1u);
  const HeadWeights& head = parts.heads.front();
  const bool trains = !d_input.empty() || !gradient.empty();
  if (trains) CHECK_GE(gradient.size(), head.trainable_elements);
  const int64_t chunk_tokens = parts.loss_chunk(tokens);
  Carver carver(workspace);
  const LossScratch scratch = parts.loss_scratch(tokens, carver);
  parts.load_norm(head.norm, weights, scratch.norm_weight);
  Maths& maths = parts.maths();
  const LossCall call{head,
                      head.lm_head.operand(maths, weights, scratch.weight),
                      scratch,
                      gradient,
                      static_cast<float>(loss_scale),
                      trains,
                      loss_sum};
  const uint64_t row_bytes = static_cast<uint64_t>(parts.shape.hidden) * dtype_bytes(parts.shape.compute);
  bool adds_loss = false, adds = accumulate;
  for (int64_t first = 0; first < tokens; first += chunk_tokens) {
    const auto begin = static_cast<size_t>(first);
    const auto rows = static_cast<size_t>(std::min(chunk_tokens, tokens - first));
    std::byte* d_rows = d_input.empty() ? nullptr : d_input.data() + begin * row_bytes;
    if (any_trained(batch.targets.subspan(begin, rows))) {
      const LossChunk chunk{static_cast<int64_t>(rows), input.data() + begin * row_bytes, d_rows,
                            batch.device.targets + begin};
      chunk_loss(parts, call, chunk, adds_loss, adds);
      adds_loss = adds = true;
    } else if (d_rows != nullptr) {
      maths.clear(d_rows, rows * row_bytes);
    }
  }
  if (!adds && !gradient.empty()) maths.clear(gradient.data(), gradient.size_bytes());
  if (!adds_loss) maths.clear(loss_sum, sizeof(double));
}

void Decoder::logits(int part, ConstBytes weights, ConstBytes input, std::span<const int32_t> last_positions,
                     std::span<float> logits, std::span<std::byte> workspace, const BatchView& batch) {
  const DecoderParts& parts = *parts_;
  parts.token_count(batch);
  const HeadWeights& head = parts.head(part);
  const DType dtype = parts.shape.compute;
  const int64_t rows = batch.rows, hidden = parts.shape.hidden;
  const int64_t vocab = parts.config.vocab_size, part_vocab = head.rows.count();
  CHECK_EQ(static_cast<int64_t>(last_positions.size()), rows);
  CHECK_EQ(static_cast<int64_t>(logits.size()), rows * vocab);
  Maths& maths = parts.maths();
  Carver carver(workspace);
  const LogitsScratch scratch = carve_logits(parts, rows, carver);
  const uint64_t row_bytes = static_cast<uint64_t>(hidden) * dtype_bytes(dtype);
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t position = last_positions[static_cast<size_t>(row)];
    CHECK_LT(position, batch.length);
    maths.copy(static_cast<std::byte*>(scratch.hidden_rows) + static_cast<uint64_t>(row) * row_bytes,
               input.data() + static_cast<uint64_t>(row * batch.length + position) * row_bytes, row_bytes);
  }
  parts.load_norm(head.norm, weights, scratch.norm_weight);
  maths.rms_norm(dtype, {rows, hidden, static_cast<float>(parts.config.rms_norm_eps), scratch.hidden_rows,
                         scratch.norm_weight, scratch.normed, scratch.rstd});
  maths.linear(dtype, parts.matrix(scratch.normed, rows, hidden), head.lm_head.operand(maths, weights, scratch.weight),
               parts.matrix(scratch.logits, rows, part_vocab));
  for (int64_t row = 0; row < rows; ++row) {
    const auto* from =
        static_cast<const std::byte*>(scratch.logits) + static_cast<uint64_t>(row * part_vocab) * dtype_bytes(dtype);
    maths.cast(dtype, from, DType::kFloat32, logits.data() + row * vocab + head.rows.first, part_vocab);
  }
}

}  // namespace penstock
