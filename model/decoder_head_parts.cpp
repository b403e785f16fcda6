// The head in parts: a first pass over the parts for every token's log-sum-exp, a second for the gradients. Each part
// is read twice and its logits are computed twice; in return only one part's weight and gradient are on the device.
#include <algorithm>

#include "model/decoder_parts.h"

namespace penstock {

namespace {

// A run of tokens whose logits exist at the same time.
struct Chunk {
  int64_t first, rows;
};

template <typename Visit>
void for_each_chunk(const DecoderParts& parts, int64_t tokens, const Visit& visit) {
  const int64_t chunk_tokens = parts.loss_chunk(tokens);
  for (int64_t first = 0; first < tokens; first += chunk_tokens) {
    visit(Chunk{first, std::min(chunk_tokens, tokens - first)});
  }
}

struct PartCall {
  const HeadWeights& head;
  MatrixView weight;
  const LossScratch& scratch;
  const BatchView& batch;
  ConstBytes input;

  // On the host.
  std::span<const int32_t> targets(const Chunk& chunk) const {
    return batch.targets.subspan(static_cast<size_t>(chunk.first), static_cast<size_t>(chunk.rows));
  }
};

PartCall begin_part(const DecoderParts& parts, int part, ConstBytes weights, ConstBytes input,
                    const LossScratch& scratch, const BatchView& batch) {
  CHECK_EQ(batch.targets.size(), batch.positions.size());
  const HeadWeights& head = parts.head(part);
  parts.load_norm(head.norm, weights, scratch.norm_weight);
  return {head, head.lm_head.operand(parts.maths(), weights, scratch.weight), scratch, batch, input};
}

uint64_t row_bytes(const DecoderParts& parts) {
  return static_cast<uint64_t>(parts.shape.hidden) * dtype_bytes(parts.shape.compute);
}

const std::byte* input_rows(const DecoderParts& parts, const PartCall& call, const Chunk& chunk) {
  return call.input.data() + static_cast<uint64_t>(chunk.first) * row_bytes(parts);
}

// The chunk's logits of this part, in scratch.logits; also scratch.normed and scratch.rstd.
MatrixView part_logits(const DecoderParts& parts, const PartCall& call, const Chunk& chunk) {
  const DType dtype = parts.shape.compute;
  const int64_t hidden = parts.shape.hidden;
  const MatrixView normed = parts.matrix(call.scratch.normed, chunk.rows, hidden);
  const MatrixView logits = parts.matrix(call.scratch.logits, chunk.rows, call.head.rows.count());
  parts.maths().rms_norm(
      dtype, {chunk.rows, hidden, static_cast<float>(parts.config.rms_norm_eps), input_rows(parts, call, chunk),
              call.scratch.norm_weight, normed.data, call.scratch.rstd});
  parts.maths().linear(dtype, normed, call.weight, logits);
  return logits;
}

// statistics [3, tokens], from token `first` on.
LossStatistics statistics_from(float* statistics, int64_t tokens, int64_t first) {
  return {statistics + first, statistics + tokens + first, statistics + 2 * tokens + first};
}

PartialCrossEntropyRows loss_rows(const PartCall& call, const Chunk& chunk, const MatrixView& logits,
                                  const LossStatistics& statistics) {
  return {chunk.rows,           call.head.rows.count(),
          call.head.rows.first, call.batch.device.targets + chunk.first,
          logits.data,          statistics};
}

// What the second pass makes of one chunk beside the lm_head's gradient. d_normed is empty where nothing below the
// lm_head is trained.
struct PartGradients {
  std::span<float> d_normed;
  std::span<std::byte> d_input;
  std::span<float> gradient;
  float loss_scale;
  bool begins, ends;  // the last part, the first part
};

void chunk_gradient(const DecoderParts& parts, const PartCall& call, const PartGradients& to, const Chunk& chunk,
                    const LossStatistics& statistics, bool accumulate) {
  const DType dtype = parts.shape.compute;
  const int64_t hidden = parts.shape.hidden;
  const LossScratch& scratch = call.scratch;
  Maths& maths = parts.maths();
  const MatrixView d_logits = part_logits(parts, call, chunk);
  maths.partial_cross_entropy_gradient(dtype, loss_rows(call, chunk, d_logits, statistics), to.loss_scale);
  call.head.lm_head.add_gradient(maths, d_logits, parts.matrix(scratch.normed, chunk.rows, hidden), to.gradient,
                                 accumulate, scratch.weight_gradient);
  if (to.d_normed.empty()) return;
  float* sum = to.d_normed.data() + chunk.first * hidden;
  maths.linear_input_gradient(dtype, d_logits, call.weight, parts.matrix(scratch.d_normed, chunk.rows, hidden));
  maths.accumulate(dtype, scratch.d_normed, sum, /*accumulate=*/!to.begins, chunk.rows * hidden);
  if (!to.ends) return;
  maths.cast(DType::kFloat32, sum, dtype, scratch.d_normed, chunk.rows * hidden);
  void* d_input =
      to.d_input.empty() ? nullptr : to.d_input.data() + static_cast<uint64_t>(chunk.first) * row_bytes(parts);
  parts.final_norm_backward(call.head.norm, scratch, chunk.rows, input_rows(parts, call, chunk), d_input, to.gradient,
                            accumulate);
}

// A chunk without a trained target.
void clear_chunk(const DecoderParts& parts, const PartGradients& to, const Chunk& chunk) {
  const int64_t hidden = parts.shape.hidden;
  if (to.begins && !to.d_normed.empty()) {
    parts.maths().clear(to.d_normed.data() + chunk.first * hidden,
                        static_cast<uint64_t>(chunk.rows * hidden) * sizeof(float));
  }
  if (to.ends && !to.d_input.empty()) {
    const uint64_t bytes = row_bytes(parts);
    parts.maths().clear(to.d_input.data() + static_cast<uint64_t>(chunk.first) * bytes,
                        static_cast<uint64_t>(chunk.rows) * bytes);
  }
}

}  // namespace

void Decoder::head_statistics(int part, ConstBytes weights, ConstBytes input, std::span<float> statistics,
                              double* loss_sum, std::span<std::byte> workspace, const BatchView& batch) {
  const DecoderParts& parts = *parts_;
  const int64_t tokens = parts.token_count(batch);
  CHECK_GE(static_cast<int64_t>(statistics.size()), 3 * tokens);
  Carver carver(workspace);
  const LossScratch scratch = parts.loss_scratch(tokens, carver);
  const PartCall call = begin_part(parts, part, weights, input, scratch, batch);
  const bool is_last = part + 1 == parts.settings.head_parts;
  Maths& maths = parts.maths();
  bool adds = false;
  for_each_chunk(parts, tokens, [&](const Chunk& chunk) {
    const LossStatistics rows = statistics_from(statistics.data(), tokens, chunk.first);
    if (any_trained(call.targets(chunk))) {
      maths.add_loss_statistics(parts.shape.compute, loss_rows(call, chunk, part_logits(parts, call, chunk), rows));
      if (!is_last) return;
      maths.losses_of_statistics(chunk.rows, batch.device.targets + chunk.first, rows, scratch.row_losses);
      maths.sum_losses(scratch.row_losses, chunk.rows, adds, loss_sum);
      adds = true;
    } else if (part == 0) {
      for (float* values : {rows.maximum, rows.exponential_sum, rows.target_logit}) {
        maths.clear(values, static_cast<uint64_t>(chunk.rows) * sizeof(float));
      }
    }
  });
  if (is_last && !adds) maths.clear(loss_sum, sizeof(double));
}

void Decoder::head_part_gradient(int part, ConstBytes weights, ConstBytes input, std::span<const float> statistics,
                                 std::span<float> d_normed, std::span<std::byte> d_input, std::span<float> gradient,
                                 bool accumulate, double loss_scale, std::span<std::byte> workspace,
                                 const BatchView& batch) {
  const DecoderParts& parts = *parts_;
  const int64_t tokens = parts.token_count(batch);
  CHECK_GE(static_cast<int64_t>(statistics.size()), 3 * tokens);
  Carver carver(workspace);
  const LossScratch scratch = parts.loss_scratch(tokens, carver);
  const PartCall call = begin_part(parts, part, weights, input, scratch, batch);
  const TensorPlace& norm = call.head.norm;
  CHECK_GE(gradient.size(), call.head.trainable_elements);
  if (!d_input.empty() || norm.spec.trainable) {
    CHECK_GE(static_cast<int64_t>(d_normed.size()), tokens * parts.shape.hidden);
  }
  const PartGradients to{d_normed,
                         d_input,
                         gradient,
                         static_cast<float>(loss_scale),
                         /*begins=*/part + 1 == parts.settings.head_parts,
                         /*ends=*/part == 0};
  bool adds = accumulate;
  for_each_chunk(parts, tokens, [&](const Chunk& chunk) {
    if (!any_trained(call.targets(chunk))) {
      clear_chunk(parts, to, chunk);
      return;
    }
    const LossStatistics rows = statistics_from(const_cast<float*>(statistics.data()), tokens, chunk.first);
    chunk_gradient(parts, call, to, chunk, rows, adds);
    adds = true;
  });
  if (!adds && !gradient.empty()) parts.maths().clear(gradient.data(), gradient.size_bytes());
  if (!accumulate && !to.ends && norm.spec.trainable) {
    parts.maths().clear(gradient.data() + norm.offset, norm.element_count * sizeof(float));
  }
}

}  // namespace penstock
