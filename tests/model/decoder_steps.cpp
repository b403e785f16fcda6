#include "decoder_steps.h"

#include <algorithm>
#include <cmath>

namespace penstock {

namespace {

std::span<float> floats(std::span<std::byte> bytes) {
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace

DecoderSteps::DecoderSteps(const DecoderCase& c, const StepOptions& options, Backend backend, Maths& maths,
                           StepMemory& memory, uint64_t seed)
    : c_(c),
      options_(options),
      config_(config_of(c)),
      settings_{backend, options.wire,      options.compute,   c.rows, c.length, options.loss_chunk_tokens,
                2,       options.trainable, options.head_parts},
      maths_(maths),
      memory_(memory),
      seed_(seed),
      batch_(c, seed),
      decoder_(config_, settings_, maths),
      bytes_(decoder_bytes(config_, settings_)),
      workspace_(memory.take(bytes_.workspace)) {
  view_ = batch_.view();
  view_.device = {on_device(batch_.positions), on_device(batch_.targets), on_device(batch_.starts)};
}

StepResults DecoderSteps::run() {
  const LayerLayout layout = layer_layouts(config_, options_.trainable)[1];
  const std::span<std::byte> weights = slab_of(layout, seed_ + 1);
  const std::span<std::byte> input = activation(3, 1.5), output = memory_.take(bytes_.activation);
  const std::span<std::byte> saved = memory_.take(bytes_.saved), d_output = memory_.take(bytes_.activation);
  const std::span<std::byte> d_input = memory_.take(bytes_.activation);
  const std::span<std::byte> gradient = memory_.take(layout.trainable_bytes(sizeof(float)));
  for (const bool accumulate : {false, true}) {
    maths_.run([&] { decoder_.forward(0, weights, input, output, saved, workspace_, view_); });
    run_head(output, d_output, accumulate);
    maths_.run([&] {
      decoder_.backward(0, weights, input, saved, d_output, d_input, floats(gradient), accumulate, workspace_, view_);
    });
  }
  keep("output", output, options_.compute, c_.rows * c_.length * c_.hidden);
  keep("d_input", d_input, options_.compute, c_.rows * c_.length * c_.hidden);
  keep_gradients(layout, gradient, "");
  if (c_.cuts.empty()) generate(weights, input);
  return std::move(results_);
}

std::span<std::byte> DecoderSteps::placed(std::span<const std::byte> values) {
  const std::span<std::byte> place = memory_.take(values.size());
  memory_.write(place, values);
  return place;
}

const int32_t* DecoderSteps::on_device(const std::vector<int32_t>& values) {
  return reinterpret_cast<const int32_t*>(placed(std::as_bytes(std::span(values))).data());
}

std::span<std::byte> DecoderSteps::slab_of(const LayerLayout& layout, uint64_t seed) {
  LayerWeights weights(layout, options_.wire, seed);
  return placed(weights.slab.span());
}

std::span<std::byte> DecoderSteps::activation(uint64_t stream, double scale) {
  GuardedBytes values =
      planned(random_tensor(seed_, stream, {c_.rows * c_.length, c_.hidden}, scale), options_.compute);
  return placed(values.span());
}

void DecoderSteps::keep(const std::string& name, std::span<const std::byte> from, DType dtype, int64_t count) {
  GuardedBytes values(static_cast<uint64_t>(count) * dtype_bytes(dtype));
  memory_.read(values.span(), from.first(values.span().size()));
  results_.values[name] = values_of(values, dtype, {count});
}

// Between tensors a slab has padding, which nobody writes here.
void DecoderSteps::keep_gradients(const LayerLayout& layout, std::span<const std::byte> gradient,
                                  const std::string& suffix) {
  for (const TensorPlace& place : layout.tensors()) {
    if (!place.spec.trainable) continue;
    keep(place.spec.name + suffix, gradient.subspan(place.offset * sizeof(float)), DType::kFloat32,
         static_cast<int64_t>(place.element_count));
  }
}

void DecoderSteps::place_heads() {
  const auto tokens = static_cast<uint64_t>(c_.rows * c_.length);
  statistics_ = memory_.take(3 * tokens * sizeof(float));
  d_normed_ = memory_.take(tokens * static_cast<uint64_t>(c_.hidden) * sizeof(float));
  for (int part = 0; part < options_.head_parts; ++part) {
    const LayerLayout layout = head_part_layout(config_, options_.trainable, options_.head_parts, part);
    heads_.push_back({layout, slab_of(layout, seed_ + 10 + static_cast<uint64_t>(part)),
                      memory_.take(layout.trainable_bytes(sizeof(float)))});
  }
}

// Statistics, then gradients of the parts in falling order; a head in one piece by its own function.
void DecoderSteps::run_head(std::span<const std::byte> input, std::span<std::byte> d_input, bool accumulate) {
  constexpr double kScale = 0.37;
  if (heads_.empty()) place_heads();
  const std::span<std::byte> loss = memory_.take(sizeof(double));
  auto* loss_sum = reinterpret_cast<double*>(loss.data());
  if (options_.head_parts == 1) {
    maths_.run([&] {
      decoder_.loss(heads_[0].weights, input, d_input, floats(heads_[0].gradient), accumulate, kScale, loss_sum,
                    workspace_, view_);
    });
  } else {
    for (int part = 0; part < options_.head_parts; ++part) {
      maths_.run([&] {
        decoder_.head_statistics(part, heads_[static_cast<size_t>(part)].weights, input, floats(statistics_), loss_sum,
                                 workspace_, view_);
      });
    }
    for (int part = options_.head_parts - 1; part >= 0; --part) {
      const HeadPart& head = heads_[static_cast<size_t>(part)];
      maths_.run([&] {
        decoder_.head_part_gradient(part, head.weights, input, floats(statistics_), floats(d_normed_),
                                    part == 0 ? d_input : std::span<std::byte>{}, floats(head.gradient), accumulate,
                                    kScale, workspace_, view_);
      });
    }
  }
  memory_.read(std::as_writable_bytes(std::span(&results_.loss, 1)), loss);
  for (size_t part = 0; part < heads_.size(); ++part) {
    keep_gradients(heads_[part].layout, heads_[part].gradient, " of part " + std::to_string(part));
  }
}

void DecoderSteps::generate(std::span<const std::byte> weights, std::span<const std::byte> prompt) {
  const int64_t capacity = c_.length + 1;
  const uint64_t cache_bytes = Decoder::kv_cache_bytes(config_, options_.compute, c_.rows, capacity);
  const std::span<std::byte> cache = memory_.take(cache_bytes), output = memory_.take(bytes_.activation);
  const auto rows = static_cast<size_t>(c_.rows);
  const std::vector<int32_t> nothing(rows, 0), lengths(rows, static_cast<int32_t>(c_.length));
  maths_.run([&] {
    decoder_.prefill(0, weights, prompt, output, {cache, c_.rows, capacity, nothing}, workspace_, view_);
  });
  keep("prefilled", output, options_.compute, c_.rows * c_.length * c_.hidden);
  std::vector<int32_t> starts(rows + 1);
  for (size_t row = 0; row <= rows; ++row) starts[row] = static_cast<int32_t>(row);
  const BatchView next = {c_.rows, 1, lengths, {}, starts, {on_device(lengths), nullptr, on_device(starts)}};
  maths_.run([&] {
    decoder_.decode(0, weights, prompt.first(prompt.size() / static_cast<size_t>(c_.length)), output,
                    {cache, c_.rows, capacity, lengths}, workspace_, next);
  });
  keep("decoded", output, options_.compute, c_.rows * c_.hidden);
}

void expect_close(const StepResults& actual, const StepResults& expected, double loss_tolerance, double tolerance) {
  EXPECT_NEAR(actual.loss, expected.loss, loss_tolerance * std::abs(expected.loss));
  ASSERT_EQ(actual.values.size(), expected.values.size());
  double largest = 0;
  for (const auto& [name, values] : expected.values) largest = std::max(largest, values.norm().item<double>());
  for (const auto& [name, values] : expected.values) {
    const double error = (actual.values.at(name) - values).norm().item<double>();
    EXPECT_LE(error, tolerance * std::max(values.norm().item<double>(), 1e-2 * largest)) << name;
  }
}

}  // namespace penstock
