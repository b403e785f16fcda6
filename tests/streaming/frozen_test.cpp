// Frozen tensors: the rest gets the very gradients of the full model, and frozen ones never move and hold no state.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tiny_run.h"

namespace penstock {
namespace {

struct Named {
  std::string name;
  std::vector<std::byte> bytes;
};

// One tensor's bytes in `plane`, whose elements take `element_bytes`.
Named tensor_bytes(const TensorPlace& place, std::span<const std::byte> plane, uint64_t element_bytes) {
  const auto part = plane.subspan(place.offset * element_bytes, place.element_count * element_bytes);
  return {place.spec.name, {part.begin(), part.end()}};
}

// Host gradients of the tensors that are trained, after one step. Rows of the embedding that no token touched are zero.
std::vector<Named> gradients(TinyRun& run) {
  std::vector<Named> result;
  const std::vector<LayerLayout>& layouts = run.memory().layouts();
  const uint64_t element = dtype_bytes(run.engine().plan().shape.gradient);
  for (size_t layer = 0; layer < layouts.size(); ++layer) {
    if (!layouts[layer].trains()) continue;
    const auto plane = run.engine().host_bytes(BufferKind::kHostGradient, static_cast<int>(layer));
    for (const TensorPlace& place : layouts[layer].tensors()) {
      if (!place.spec.trainable) continue;
      result.push_back(tensor_bytes(place, plane, element));
      if (layer > 0) continue;
      const auto touched = plane.subspan(touched_rows_offset(run.engine().plan().shape));
      const uint64_t row_bytes = static_cast<uint64_t>(place.spec.shape[1]) * element;
      for (uint64_t row = 0; row < static_cast<uint64_t>(place.spec.shape[0]); ++row) {
        if (touched[row] == std::byte{0}) std::memset(result.back().bytes.data() + row * row_bytes, 0, row_bytes);
      }
    }
  }
  return result;
}

std::vector<Named> weights(TinyRun& run) {
  std::vector<Named> result;
  const uint64_t element = dtype_bytes(wire_dtype(run.memory().format()));
  for (int layer = 0; layer < run.memory().layer_count(); ++layer) {
    const LayerStateView view = run.memory().layer(layer);
    for (const TensorPlace& place : view.layout->tensors()) result.push_back(tensor_bytes(place, view.wire, element));
  }
  return result;
}

const Named& find(const std::vector<Named>& all, const std::string& name) {
  for (const Named& named : all) {
    if (named.name == name) return named;
  }
  ADD_FAILURE() << "no tensor " << name;
  return all.front();
}

bool is_trained(const TrainablePatterns& patterns, const std::string& name) {
  for (const std::string& pattern : patterns) {
    if (matches_name_pattern(pattern, name)) return true;
  }
  return false;
}

struct Case {
  std::string family;
  TrainablePatterns trainable;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {"llama", {"model.layers.3.*", "model.layers.4.*"}},
      {"llama", {"lm_head.weight"}},
      {"llama", {"model.embed_tokens.weight"}},
      {"llama", {"*.mlp.down_proj.weight"}},
      {"llama", {"*.self_attn.q_proj.weight", "*.layers.2.self_attn.v_proj.weight", "model.norm.weight"}},
      {"llama", {"*layernorm.weight"}},
      {"mistral", {"*.layers.1.*", "*.layers.3.self_attn.k_proj.weight"}},
      {"qwen2", {"*.bias"}},
      {"qwen2", {"model.embed_tokens.weight", "*.layers.0.*"}},
      {"qwen2", {"model.norm.weight"}},
      {"qwen3", {"*.q_norm.weight", "*.layers.2.mlp.up_proj.weight"}},
      {"smollm3", {"*.mlp.gate_proj.*", "*.o_proj.bias"}},
  };
  return kCases;
}

TinySettings settings_of(const Case& tested, StateFormat format, DType compute, int head_parts = 1) {
  TinySettings settings;
  settings.family = tested.family;
  settings.trainable = tested.trainable;
  settings.format = format;
  settings.compute = compute;
  settings.head_parts = head_parts;
  settings.max_grad_norm = 0;
  return settings;
}

// Both with every block kept: recomputation never changes a bit (invariance_test.cpp).
void expect_gradients_of_the_full_model(const TinySettings& frozen) {
  TinySettings full = frozen;
  full.trainable.clear();
  TinyRun full_run(full), frozen_run(frozen);
  EXPECT_EQ(full_run.step(0).loss, frozen_run.step(0).loss);
  const std::vector<Named> expected = gradients(full_run), actual = gradients(frozen_run);
  size_t trained = 0;
  for (const Named& named : expected) trained += is_trained(frozen.trainable, named.name) ? 1 : 0;
  ASSERT_GT(trained, 0u);
  ASSERT_EQ(actual.size(), trained);
  for (const Named& named : actual) EXPECT_TRUE(find(expected, named.name).bytes == named.bytes) << named.name;
}

TEST(Frozen, TheRestHasTheGradientsOfTheFullModel) {
  for (const Case& tested : cases()) {
    SCOPED_TRACE(tested.family + " " + tested.trainable.front());
    expect_gradients_of_the_full_model(settings_of(tested, StateFormat::kFloat32, DType::kFloat32));
    expect_gradients_of_the_full_model(settings_of(tested, StateFormat::kExact, DType::kFloat32, 3));
    expect_gradients_of_the_full_model(settings_of(tested, StateFormat::kExact, DType::kBFloat16));
  }
}

TEST(Frozen, OnlyTrainedTensorsMove) {
  for (const Case& tested : cases()) {
    SCOPED_TRACE(tested.family + " " + tested.trainable.front());
    TinyRun run(settings_of(tested, StateFormat::kFloat32, DType::kFloat32));
    const std::vector<Named> before = weights(run);
    run.losses(0, 3);
    run.state();  // drained
    for (const Named& named : weights(run)) {
      EXPECT_EQ(find(before, named.name).bytes != named.bytes, is_trained(tested.trainable, named.name)) << named.name;
    }
  }
}

// 2 bytes a frozen parameter, 14 a trained one, up to the padding of tensors.
TEST(Frozen, BytesAParameterAreAsPlanned) {
  for (const Case& tested : cases()) {
    SCOPED_TRACE(tested.family + " " + tested.trainable.front());
    const RunPlan plan = tiny_plan(settings_of(tested, StateFormat::kExact, DType::kBFloat16));
    uint64_t frozen = 0, trained = 0, tensors = 0, rows = 0, planned = 0;
    for (const LayerLayout& layout : layer_layouts(plan.shape.model, tested.trainable)) {
      for (const TensorPlace& place : layout.tensors()) {
        (place.spec.trainable ? trained : frozen) += place.element_count;
        ++tensors;
      }
    }
    if (!plan.shape.model.tie_word_embeddings) rows = static_cast<uint64_t>(plan.shape.model.vocab_size);
    for (const Buffer& buffer : plan.planner.buffers().all()) {
      const bool counts = buffer.kind == BufferKind::kHostWire || buffer.kind == BufferKind::kHostState ||
                          buffer.kind == BufferKind::kHostGradient;
      planned += counts ? buffer.bytes : 0;
    }
    EXPECT_GE(planned, 2 * frozen + 14 * trained);
    EXPECT_LE(planned, 2 * frozen + 14 * trained + tensors * 14 * kTensorAlignment / 2 + rows + kTensorAlignment);
  }
}

TEST(Frozen, TheNormIsThatOfTheTrainedGradients) {
  TinySettings settings = settings_of(cases().front(), StateFormat::kFloat32, DType::kFloat32);
  TinyRun run(settings);
  const double reported = run.step(0).gradient_norm;
  double sum = 0;
  for (const Named& named : gradients(run)) {
    for (size_t i = 0; i < named.bytes.size(); i += sizeof(float)) {
      float value;
      std::memcpy(&value, named.bytes.data() + i, sizeof value);
      sum += static_cast<double>(value) * value;
    }
  }
  EXPECT_NEAR(reported, std::sqrt(sum), 1e-6 * reported);
}

}  // namespace
}  // namespace penstock
