// Frozen tensors: what is trained gets the very gradients of the full model, and nothing else is written.
#include "decoder_run.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240615;

void all_switches(ModelConfig& config) {
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  config.windows = {9};
}

// Weights without padding between them, and with it; with every optional tensor, and with none.
std::vector<DecoderCase> freezing_cases() {
  return {{"padded_plain", 30, 44, 37, 6, 2, 10, 2, 13, {}},
          {"padded_switches", 36, 52, 61, 6, 2, 6, 3, 21, {4, 5, 17, 30, 50}, &all_switches},
          {"adjacent_plain", 64, 128, 128, 4, 2, 16, 2, 40, {11, 40, 44}},
          {"adjacent_switches", 64, 128, 128, 4, 2, 16, 2, 40, {11, 40, 44}, &all_switches}};
}

// Patterns from the whole block down to single tensors, and mixtures within q, k, v and within gate, up.
const std::vector<TrainablePatterns>& block_patterns() {
  static const std::vector<TrainablePatterns> patterns = {{"*input_layernorm*"},
                                                          {"*post_attention_layernorm*"},
                                                          {"*self_attn*"},
                                                          {"*mlp*"},
                                                          {"*down_proj*"},
                                                          {"*o_proj*"},
                                                          {"*k_proj.weight"},
                                                          {"*q_proj*", "*v_proj*"},
                                                          {"*up_proj*"},
                                                          {"*gate_proj.weight"},
                                                          {"*norm*"},
                                                          {"*q_proj.weight", "*down_proj*"},
                                                          {"*gate_up*", "*k_p*"}};
  return patterns;
}
const std::vector<TrainablePatterns>& optional_tensor_patterns() {
  static const std::vector<TrainablePatterns> patterns = {{"*.bias"},       {"*q_norm*"},      {"*k_norm*"},
                                                          {"*k_proj.bias"}, {"*up_proj.bias"}, {"*down_proj.bias"},
                                                          {"*o_proj.bias"}};
  return patterns;
}

// One layer's gradients of two micro-batches, and the gradient of its input.
struct Result {
  LayerLayout layout;
  std::vector<float> gradient;
  std::vector<std::byte> d_input;

  std::vector<float> of(const std::string& name) const {
    const TensorPlace& place = layout.tensor(name);
    return {gradient.begin() + static_cast<int64_t>(place.offset),
            gradient.begin() + static_cast<int64_t>(place.offset + place.element_count)};
  }
};

template <typename T>
bool bit_equal(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Every trained tensor of `result` as in `full`; the d_input too where it was asked for.
void expect_part_of(const Result& result, const Result& full, bool wants_input) {
  for (const TensorPlace& place : result.layout.tensors()) {
    if (!place.spec.trainable) continue;
    EXPECT_TRUE(bit_equal(result.of(place.spec.name), full.of(place.spec.name))) << place.spec.name;
  }
  if (wants_input) {
    EXPECT_TRUE(bit_equal(result.d_input, full.d_input));
  }
}

Result run_block(const DecoderCase& c, DType wire, DType compute, const TrainablePatterns& trainable,
                 bool wants_input) {
  DecoderRun run(c, wire, compute, 1024, trainable);
  const TestBatch batch(c, kSeed);
  const LayerLayout& layout = run.layouts[1];
  LayerWeights weights(layout, wire, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), compute);
  GuardedBytes d_output = planned(random_tensor(kSeed, 2, {c.rows * c.length, c.hidden}, 1.0), compute);
  GuardedBytes gradient(layout.trainable_bytes(sizeof(float)));
  for (const bool accumulate : {false, true}) {
    run.forward(weights, input, batch);
    run.backward(weights, input, d_output, gradient.as<float>(), accumulate, batch, wants_input);
  }
  const std::span<float> values = gradient.as<float>();
  const std::span<std::byte> d_input = run.d_input.span();
  return {layout, {values.begin(), values.end()}, {d_input.begin(), d_input.end()}};
}

class DecoderFreezing : public testing::TestWithParam<DecoderCase> {};

TEST_P(DecoderFreezing, TrainedTensorsOfABlockGetTheBitsOfTheFullModel) {
  const DecoderCase& c = GetParam();
  std::vector<TrainablePatterns> patterns = block_patterns();
  if (c.set_switches != nullptr) {
    patterns.insert(patterns.end(), optional_tensor_patterns().begin(), optional_tensor_patterns().end());
  }
  const std::pair<DType, DType> types[] = {{DType::kFloat32, DType::kFloat32}, {DType::kBFloat16, DType::kBFloat16}};
  for (const auto& [wire, compute] : types) {
    const Result full = run_block(c, wire, compute, {}, true);
    for (const TrainablePatterns& trainable : patterns) {
      for (const bool wants_input : {true, false}) {
        SCOPED_TRACE(testing::Message() << trainable.front() << " input " << wants_input << " seed " << kSeed);
        expect_part_of(run_block(c, wire, compute, trainable, wants_input), full, wants_input);
      }
    }
    SCOPED_TRACE("all frozen");
    expect_part_of(run_block(c, wire, compute, {"model.norm.weight"}, true), full, true);
  }
}

TEST_P(DecoderFreezing, WithoutDInputItIsNotWritten) {
  const DecoderCase& c = GetParam();
  const Result result = run_block(c, DType::kFloat32, DType::kFloat32, {}, false);
  for (const std::byte byte : result.d_input) ASSERT_EQ(byte, std::byte{0xff});
}

Result run_head(const DecoderCase& c, const TrainablePatterns& trainable, bool wants_input, bool any_target = true) {
  DecoderRun run(c, DType::kFloat32, DType::kFloat32, 16, trainable);
  TestBatch batch(c, kSeed);
  if (!any_target) std::fill(batch.targets.begin(), batch.targets.end(), kUntrainedTarget);
  const LayerLayout& layout = run.layouts.back();
  LayerWeights weights(layout, DType::kFloat32, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  GuardedBytes gradient(layout.trainable_bytes(sizeof(float)));
  for (const bool accumulate : {false, true}) {
    run.loss(weights, input, gradient.as<float>(), accumulate, 0.3, batch, wants_input);
  }
  const std::span<float> values = gradient.as<float>();
  const std::span<std::byte> d_input = run.d_input.span();
  return {layout, {values.begin(), values.end()}, {d_input.begin(), d_input.end()}};
}

TEST_P(DecoderFreezing, TrainedTensorsOfTheHeadGetTheBitsOfTheFullModel) {
  const DecoderCase& c = GetParam();
  const Result full = run_head(c, {}, true);
  expect_part_of(run_head(c, {"model.layers.*"}, true), full, true);
  for (const bool wants_input : {true, false}) {
    for (const char* pattern : {"model.norm.weight", "lm_head.weight", "*"}) {
      SCOPED_TRACE(testing::Message() << pattern << " input " << wants_input << " seed " << kSeed);
      expect_part_of(run_head(c, {pattern}, wants_input), full, wants_input);
    }
  }
  for (const char* pattern : {"model.norm.weight", "lm_head.weight"}) {
    expect_part_of(run_head(c, {pattern}, true, false), run_head(c, {}, true, false), true);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, DecoderFreezing, testing::ValuesIn(freezing_cases()),
                         [](const auto& test) { return test.param.name; });

// Blocks of one model may differ: each has its own layout, window and rotation.
TEST(DecoderBlocks, EachBlockUsesItsOwnLayoutAndSwitches) {
  const DecoderCase c = {"three_blocks", 64, 128, 50, 4, 2, 16, 1, 24, {}, [](ModelConfig& config) {
                           config.num_hidden_layers = 3;
                           config.windows = {0, 5, 0};
                           config.rotary_blocks = {1, 1, 0};
                         }};
  DecoderRun run(c, DType::kFloat32, DType::kFloat32, 1024, {"*layers.1.self_attn.v_proj*", "*layers.2*"});
  const TestBatch batch(c, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.length, c.hidden}, 1.5), DType::kFloat32);
  GuardedBytes d_output = planned(random_tensor(kSeed, 2, {c.length, c.hidden}, 1.0), DType::kFloat32);
  for (int64_t block = 0; block < 3; ++block) {
    SCOPED_TRACE(testing::Message() << "block " << block << " seed " << kSeed);
    LayerWeights weights(run.layouts[static_cast<size_t>(block) + 1], DType::kFloat32, kSeed);
    GuardedBytes gradient(weights.layout.trainable_bytes(sizeof(float)));
    const at::Tensor x = values_of(input, DType::kFloat32, {c.length, c.hidden}).requires_grad_();
    const at::Tensor expected = reference::block(run.config, weights.leaves, x, batch.view(), block);
    expected.backward(values_of(d_output, DType::kFloat32, {c.length, c.hidden}));
    run.observed([&](std::span<std::byte> workspace) {
      run.decoder.forward(block, weights.slab.span(), input.span(), run.output.span(), run.saved.span(), workspace,
                          batch.view());
    });
    EXPECT_LE(relative_error(values_of(run.output, DType::kFloat32, {c.length, c.hidden}), expected), 1e-5);
    run.observed([&](std::span<std::byte> workspace) {
      run.decoder.backward(block, weights.slab.span(), input.span(), run.saved.span(), d_output.span(),
                           run.d_input.span(), gradient.as<float>(), false, workspace, batch.view());
    });
    EXPECT_LE(relative_error(values_of(run.d_input, DType::kFloat32, {c.length, c.hidden}), x.grad()), 1e-5);
    weights.expect_gradients(gradient.as<float>(), 1e-5);
  }
}

}  // namespace
}  // namespace penstock
