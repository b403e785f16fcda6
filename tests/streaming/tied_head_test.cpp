// A tied head is one tensor with one gradient; a head in parts is the head up to rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/bf16.h"
#include "tiny_run.h"

namespace penstock {
namespace {

std::span<const float> floats(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

// The tied embedding's values, as the untied model's embedding and as its head.
void copy_weights(TinyRun& tied, TinyRun& untied) {
  const auto& from = tied.memory().layouts();
  const auto& to = untied.memory().layouts();
  for (size_t layer = 0; layer < to.size(); ++layer) {
    for (const TensorPlace& place : to[layer].tensors()) {
      const bool is_embedding = place.spec.name == "model.embed_tokens.weight" || place.spec.name == "lm_head.weight";
      const TensorPlace& source = is_embedding ? embedding_place(from) : from[layer].tensor(place.spec.name);
      const size_t source_layer = is_embedding ? from.size() - 1 : layer;
      std::vector<float> values(place.element_count);
      read_master(tied.memory().layer(static_cast<int>(source_layer)), source, values);
      write_master(untied.memory().layer(static_cast<int>(layer)), place, values);
    }
  }
}

TinySettings settings_of(StateFormat format, bool tied) {
  TinySettings settings;
  settings.family = tied ? "qwen2" : "qwen2-untied";
  settings.format = format;
  settings.max_grad_norm = 0;
  return settings;
}

// grad = cast(head's gradient + the embedding's row sum), element by element, and the rest as without tying.
void expect_sum_of_both_uses(StateFormat format) {
  TinyRun tied(settings_of(format, true)), untied(settings_of(format, false));
  copy_weights(tied, untied);
  EXPECT_EQ(tied.step(0).loss, untied.step(0).loss);
  const RunShape& shape = untied.engine().plan().shape;
  const int head = tied.memory().layer_count() - 1;
  const auto shared = tied.engine().host_bytes(BufferKind::kHostGradient, head);
  const auto of_head = untied.engine().host_bytes(BufferKind::kHostGradient, head);
  const auto of_rows = untied.engine().host_bytes(BufferKind::kHostGradient, 0);
  const auto touched = of_rows.subspan(touched_rows_offset(shape));
  const TensorPlace& place = embedding_place(tied.memory().layouts());
  const TensorPlace& head_place = untied.memory().layouts().back().tensor("lm_head.weight");
  const auto columns = static_cast<size_t>(shape.model.hidden_size);
  const auto value = [&](std::span<const std::byte> bytes, size_t i) {
    if (shape.gradient == DType::kFloat32) return floats(bytes)[i];
    return float_from_bf16(reinterpret_cast<const bf16_bits*>(bytes.data())[i]);
  };
  size_t both = 0;
  for (size_t i = 0; i < place.element_count; ++i) {
    const bool has_row = touched[i / columns] != std::byte{0};
    both += has_row ? 1 : 0;
    const float head_part = value(of_head, head_place.offset + i);
    const float row_part = has_row ? value(of_rows, i) : 0.0f;
    const float actual = value(shared, place.offset + i);
    if (format == StateFormat::kFloat32) {
      ASSERT_EQ(actual, head_part + row_part) << i;
    } else {  // the untied row sum was rounded once more: half a step of bf16 each
      ASSERT_NEAR(actual, head_part + row_part, 0x1p-8 * (std::abs(row_part) + std::abs(actual))) << i;
    }
    ASSERT_TRUE(has_row || actual == head_part) << i;
  }
  EXPECT_GT(both, 0u);
  EXPECT_LT(both, place.element_count);
}

TEST(TiedHead, TheGradientIsTheSumOfBothUses) {
  expect_sum_of_both_uses(StateFormat::kFloat32);
  expect_sum_of_both_uses(StateFormat::kExact);
}

TEST(TiedHead, IsHeldOnce) {
  const RunPlan plan = tiny_plan(settings_of(StateFormat::kExact, true));
  EXPECT_FALSE(plan.planner.buffers().contains(BufferKind::kHostWire, 0));
  EXPECT_FALSE(plan.planner.buffers().contains(BufferKind::kHostState, 0));
  EXPECT_EQ(parameter_count(plan.shape.model) + plan.shape.model.vocab_size * plan.shape.model.hidden_size,
            parameter_count(tiny_plan(settings_of(StateFormat::kExact, false)).shape.model));
}

// Relative distance of two gradients, all layers.
double distance(TinyRun& a, TinyRun& b) {
  double difference = 0, norm = 0;
  for (int layer = 0; layer < a.memory().layer_count(); ++layer) {
    const uint64_t elements = a.memory().layouts()[static_cast<size_t>(layer)].trainable_elements();
    if (elements == 0) continue;
    const auto x = floats(a.engine().host_bytes(BufferKind::kHostGradient, layer));
    const auto y = floats(b.engine().host_bytes(BufferKind::kHostGradient, layer));
    for (uint64_t i = 0; i < elements; ++i) {
      difference += (x[i] - y[i]) * (x[i] - y[i]);
      norm += static_cast<double>(x[i]) * x[i];
    }
  }
  return std::sqrt(difference / norm);
}

TEST(HeadInParts, IsTheHeadUpToRounding) {
  for (const std::string family : {"llama", "qwen2"}) {
    TinySettings settings;
    settings.family = family;
    if (family == "llama") settings.trainable = {"model.layers.*", "model.norm.weight", "lm_head.weight"};
    TinyRun whole(settings);
    const StepReport expected = whole.step(0);
    for (const int parts : {2, 3, 5, 37}) {
      settings.head_parts = parts;
      TinyRun split(settings);
      const StepReport report = split.step(0);
      EXPECT_NEAR(report.loss, expected.loss, 1e-6 * expected.loss) << family << ", " << parts << " parts";
      EXPECT_LT(distance(whole, split), 1e-5) << family << ", " << parts << " parts";
      const StepBatch held_out = tiny_step(settings, 900);
      const double evaluated = split.trainer().evaluate(held_out.micro_batches).loss_sum;
      EXPECT_GT(evaluated, 0) << parts;
    }
  }
}

TEST(HeadInParts, TakesLessOfTheDevice) {
  TinySettings settings;
  settings.family = "qwen2";
  const auto device_bytes = [&](int parts) {
    settings.head_parts = parts;
    const RunPlan plan = tiny_plan(settings);
    uint64_t bytes = 0;
    for (const Buffer& buffer : plan.planner.buffers().all()) {
      const bool of_head = buffer.kind == BufferKind::kHeadSlot || buffer.kind == BufferKind::kHeadGradientSlot ||
                           buffer.kind == BufferKind::kHeadWireStaging;
      bytes += of_head ? buffer.bytes : 0;
    }
    return bytes;
  };
  EXPECT_LT(device_bytes(4), device_bytes(1) * 4 / 5);
  EXPECT_LT(device_bytes(8), device_bytes(4));
}

}  // namespace
}  // namespace penstock
