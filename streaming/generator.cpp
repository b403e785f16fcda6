#include "streaming/generator.h"

#include <algorithm>

#include "core/check.h"

namespace penstock {
namespace {

// The rows of one request between steps.
class Rows {
 public:
  Rows(const GenerationRequest& request, const RunShape& shape) : request_(request), shape_(shape) {
    const size_t count = request.prompts.size();
    CHECK_EQ(static_cast<int64_t>(count), shape.rows);
    output_.resize(count);
    ended_.resize(count, false);
    cache_lengths_.resize(count, 0);
    for (const auto& prompt : request.prompts) add_prompt(prompt);
    segment_starts_.push_back(static_cast<int32_t>(tokens_.size()));
  }

  GenerationInputs prefill_inputs() {
    return inputs({.rows = shape_.rows,
                   .length = shape_.length,
                   .positions = positions_,
                   .targets = {},
                   .segment_starts = segment_starts_});
  }

  GenerationInputs decode_inputs() {
    const size_t count = output_.size();
    tokens_.clear();  // the tokens sampled before are in the schedule's own buffer
    last_positions_.assign(count, 0);
    segment_starts_.resize(count + 1);
    for (size_t row = 0; row <= count; ++row) segment_starts_[row] = static_cast<int32_t>(row);
    positions_ = cache_lengths_;
    return inputs(
        {.rows = shape_.rows, .length = 1, .positions = positions_, .targets = {}, .segment_starts = segment_starts_});
  }

  // The cache has grown by the prompts, or by one token a row.
  void finish_prefill() {
    for (size_t row = 0; row < output_.size(); ++row) {
      cache_lengths_[row] = static_cast<int32_t>(request_.prompts[row].size());
    }
    ++draws_;
  }
  void finish_decode() {
    for (int32_t& length : cache_lengths_) ++length;
    ++draws_;
  }
  bool all_ended() const {
    return std::all_of(ended_.begin(), ended_.end(), [](bool ended) { return ended; });
  }

  void sample(std::span<const float> logits, std::span<int32_t> next_tokens) {
    const size_t vocab = static_cast<size_t>(shape_.model.vocab_size);
    for (size_t row = 0; row < output_.size(); ++row) {
      next_tokens[row] = sample_token(logits.subspan(row * vocab, vocab), request_.sampling, row, draws_);
      const auto& stops = request_.stop_tokens;
      if (std::find(stops.begin(), stops.end(), next_tokens[row]) != stops.end()) ended_[row] = true;
      if (!ended_[row]) output_[row].push_back(next_tokens[row]);
    }
  }

  std::vector<std::vector<int32_t>> take_output() { return std::move(output_); }

 private:
  GenerationInputs inputs(const BatchView& batch) const {
    GenerationInputs inputs;
    inputs.cache_lengths = cache_lengths_;
    inputs.last_positions = last_positions_;
    inputs.batch = batch;
    inputs.tokens = tokens_;
    return inputs;
  }

  // Right-padded to the longest prompt; the padding is a segment of its own. Its positions go on after the prompt, so
  // that it lands in cache places that decoding overwrites before it reads them.
  void add_prompt(const std::vector<int32_t>& prompt) {
    const int64_t length = static_cast<int64_t>(prompt.size());
    CHECK(length >= 1 && length <= shape_.length);
    segment_starts_.push_back(static_cast<int32_t>(tokens_.size()));
    if (length < shape_.length)
      segment_starts_.push_back(static_cast<int32_t>(tokens_.size()) + static_cast<int32_t>(length));
    for (int64_t i = 0; i < shape_.length; ++i) {
      tokens_.push_back(i < length ? prompt[static_cast<size_t>(i)] : 0);
      positions_.push_back(static_cast<int32_t>(i));
    }
    last_positions_.push_back(static_cast<int32_t>(length - 1));
  }

  const GenerationRequest& request_;
  RunShape shape_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> segment_starts_;
  std::vector<int32_t> last_positions_;
  std::vector<int32_t> cache_lengths_;
  std::vector<std::vector<int32_t>> output_;
  std::vector<bool> ended_;
  uint64_t draws_ = 0;
};

}  // namespace

RunShape generation_shape(const ModelConfig& model, StateFormat format, DType compute,
                          const GenerationRequest& request) {
  size_t longest = 1;
  for (const auto& prompt : request.prompts) longest = std::max(longest, prompt.size());
  RunShape shape{.model = model, .format = format, .compute = compute, .gradient = gradient_dtype(format)};
  shape.rows = static_cast<int64_t>(request.prompts.size());
  shape.length = static_cast<int64_t>(longest);
  shape.kv_capacity = shape.length + request.max_new_tokens;
  return shape;
}

std::vector<std::vector<int32_t>> generate(StepEngine& engine, const GenerationRequest& request,
                                           std::vector<std::vector<float>>* keep_logits) {
  Rows rows(request, engine.plan().shape);
  const auto sample = [&](std::span<const float> logits, std::span<int32_t> next_tokens) {
    if (keep_logits != nullptr) keep_logits->emplace_back(logits.begin(), logits.end());
    rows.sample(logits, next_tokens);
  };
  GenerationInputs inputs = rows.prefill_inputs();
  inputs.sample = sample;
  engine.run(StepVariant::kPrefill, {}, inputs);
  rows.finish_prefill();
  for (int64_t token = 1; token < request.max_new_tokens && !rows.all_ended(); ++token) {
    inputs = rows.decode_inputs();
    inputs.sample = sample;
    engine.run(StepVariant::kDecode, {}, inputs);
    rows.finish_decode();
  }
  return rows.take_output();
}

}  // namespace penstock
