#include "streaming/weight_loader.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/bf16.h"
#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "model/config_json.h"
#include "model/hf_folder.h"
#include "model/layer_specs.h"
#include "model/safetensors_header.h"
#include "model/weight_files.h"
#include "streaming/model_weights.h"
#include "streaming/weight_values.h"
#include "tiny_run.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// Any value of a trained model, none of which bf16 holds exactly: seeded by tensor and element.
float value_of(uint64_t tensor, uint64_t element) {
  const auto bits = static_cast<uint32_t>(CounterRandom(11, tensor).below(element, uint64_t{1} << 32));
  return std::ldexp(static_cast<float>(bits) - 2147483648.0f, -34);
}

uint16_t half_of(float value) {  // to the nearest multiple of 2^-14, in fp16's normal or subnormal range
  const int scaled = static_cast<int>(std::lround(std::ldexp(value, 14)));
  return static_cast<uint16_t>(scaled % 1024 < 0 ? 0x8000 | (-scaled % 1024) : scaled % 1024);
}

float float_of_half(uint16_t half) {
  return std::ldexp(static_cast<float>(half & 0x3ff), -24) * (half & 0x8000 ? -1 : 1);
}

// What a file of this type holds for a value.
float stored_value(const std::string& dtype, float value) {
  if (dtype == "BF16") return float_from_bf16(bf16_from_float(value));
  return dtype == "F16" ? float_of_half(half_of(value)) : value;
}

struct FolderPlan {
  std::string dtype;
  uint64_t shard_bytes = uint64_t{1} << 40;
  std::string bad_tensor = {};
  float bad_value = INFINITY;
};

class SourceFolder {
 public:
  SourceFolder(const ModelConfig& config, const FolderPlan& plan) {
    std::string pattern = testing::TempDir() + "/penstock_loader_XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << pattern;
    path = pattern;
    write_text_file(path + "/config.json", config_json_text(config, DType::kBFloat16));
    std::vector<SafetensorsSpec> specs;
    for (const LayerLayout& layout : layer_layouts(config)) {
      for (const TensorPlace& place : layout.tensors()) {
        specs.push_back({.name = place.spec.name, .dtype = plan.dtype, .shape = place.spec.shape});
      }
    }
    write_weight_files(path, specs, plan.shard_bytes, [&](size_t index, uint64_t first, std::span<std::byte> out) {
      const uint64_t width = safetensors_element_bytes(plan.dtype);
      for (uint64_t i = 0; i < out.size() / width; ++i) {
        const bool is_bad = specs[index].name == plan.bad_tensor && first + i == 7;
        const float value = is_bad ? plan.bad_value : value_of(index, first + i);
        const uint16_t narrow = plan.dtype == "F16" ? half_of(value) : bf16_from_float(value);
        std::memcpy(&out[i * width], width == 4 ? static_cast<const void*>(&value) : &narrow, width);
      }
    });
  }
  ~SourceFolder() { fs::remove_all(path); }
  SourceFolder(const SourceFolder&) = delete;
  SourceFolder& operator=(const SourceFolder&) = delete;

  std::string path;
};

struct Case {
  StateFormat format;
  std::string family;
  TrainablePatterns trainable;
  bool has_state;
};

ModelMemory make_memory(const Case& c, const ModelConfig& config) {
  TinySettings settings{.format = c.format, .blocks = 2, .family = c.family, .trainable = c.trainable};
  const RunPlan plan = tiny_plan(settings);
  EXPECT_EQ(plan.shape.model, config);
  BufferTable buffers;
  for (const Buffer& buffer : plan.planner.buffers().all()) {
    const bool is_state = buffer.kind == BufferKind::kHostState;
    if (buffer.kind == BufferKind::kHostWire || (is_state && c.has_state)) buffers.add(buffer);
  }
  return ModelMemory(plan.shape, buffers);
}

// The old contents must not show through: moments are zero afterwards, padding stays.
void fill_all(ModelMemory& memory, std::byte byte) {
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    const LayerStateView view = memory.layer(layer);
    std::fill(view.wire.begin(), view.wire.end(), byte);
    std::fill(view.state.begin(), view.state.end(), byte);
  }
}

std::vector<std::byte> all_bytes(const ModelMemory& memory) {
  std::vector<std::byte> bytes;
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    const LayerStateView view = memory.layer(layer);
    bytes.insert(bytes.end(), view.wire.begin(), view.wire.end());
    bytes.insert(bytes.end(), view.state.begin(), view.state.end());
  }
  return bytes;
}

// One value at a time through write_master, or rounded as the format does where there is no state: the definition.
void fill_expected(ModelMemory& memory, const std::string& dtype) {
  uint64_t tensor = 0;
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    const LayerStateView view = memory.layer(layer);
    for (const TensorPlace& place : view.layout->tensors()) {
      std::vector<float> values(place.element_count);
      for (size_t i = 0; i < values.size(); ++i) values[i] = stored_value(dtype, value_of(tensor, i));
      ++tensor;
      if (!view.state.empty() && place.spec.trainable) {
        write_master(view, place, values);
        continue;
      }
      for (size_t i = 0; i < values.size(); ++i) {
        const bool is_exact = view.format == StateFormat::kExact;
        const bf16_bits half = is_exact ? split_master(values[i]).hi : bf16_from_float(values[i]);
        const uint64_t width = dtype_bytes(wire_dtype(view.format));
        std::memcpy(&view.wire[(place.offset + i) * width], width == 4 ? static_cast<const void*>(&values[i]) : &half,
                    width);
      }
    }
  }
}

TEST(WeightLoader, EveryTypeIntoEveryMemoryBitForBitWhateverTheReaders) {
  const std::vector<Case> cases = {
      {StateFormat::kExact, "llama", {}, true},
      {StateFormat::kExact, "llama", {}, false},
      {StateFormat::kFloat32, "qwen3", {}, true},
      {StateFormat::kFloat32, "qwen2", {}, false},
      {StateFormat::kExact, "smollm3", {"*layers.1.*"}, true},
      {StateFormat::kFloat32, "qwen2", {"*norm*", "*embed*"}, true},
      {StateFormat::kCompact, "llama", {"*norm*"}, true},
      {StateFormat::kCompact8, "llama", {"*layers.1.*"}, true},
  };
  for (const Case& c : cases) {
    const ModelConfig config = tiny_model(2, 44, c.family);
    for (const char* dtype : {"BF16", "F16", "F32"}) {
      for (const uint64_t shard_bytes : {uint64_t{1} << 40, uint64_t{3000}}) {
        const SourceFolder source(config, {.dtype = dtype, .shard_bytes = shard_bytes});
        ModelMemory expected = make_memory(c, config);
        fill_all(expected, std::byte{0x5a});
        fill_expected(expected, dtype);
        for (const int readers : {1, 2, 5}) {
          SCOPED_TRACE(c.family + " " + dtype + " shards of " + std::to_string(shard_bytes) + ", readers " +
                       std::to_string(readers));
          ModelMemory memory = make_memory(c, config);
          fill_all(memory, std::byte{0x5a});
          load_weights(memory, source.path, {.readers = readers});
          ASSERT_EQ(all_bytes(memory), all_bytes(expected));
        }
      }
    }
  }
}

// A tensor of several pieces, odd at its end.
TEST(WeightLoader, TensorsOfSeveralPieces) {
  ModelConfig config = tiny_model(1);
  config.vocab_size = 180'001;  // times 24: two whole pieces and a part
  for (const char* dtype : {"BF16", "F32"}) {
    const SourceFolder source(config, {.dtype = dtype});
    const RunShape shape = {.model = config, .format = StateFormat::kExact};
    BufferTable buffers;
    const std::vector<LayerLayout> layouts = layer_layouts(config);
    for (int layer = 0; layer < 3; ++layer) {
      const LayerLayout& layout = layouts[static_cast<size_t>(layer)];
      buffers.add({.kind = BufferKind::kHostWire, .index = layer, .bytes = layout.slab_bytes(2)});
    }
    ModelMemory expected(shape, buffers), memory(shape, buffers);
    fill_expected(expected, dtype);
    std::vector<uint64_t> reported;
    const auto progress = [&](uint64_t done, uint64_t total) {
      EXPECT_LE(done, total);
      EXPECT_EQ(total, static_cast<uint64_t>(parameter_count(config)) * safetensors_element_bytes(dtype));
      reported.push_back(done);
    };
    load_weights(memory, source.path, {.readers = 3, .progress = progress});
    EXPECT_EQ(all_bytes(memory), all_bytes(expected));
    EXPECT_TRUE(std::is_sorted(reported.begin(), reported.end()));
    ASSERT_FALSE(reported.empty());
    EXPECT_EQ(reported.back(), static_cast<uint64_t>(parameter_count(config)) * safetensors_element_bytes(dtype));
  }
}

TEST(WeightLoader, TheEndIsReportedOnce) {
  const ModelConfig config = tiny_model(2);
  const SourceFolder source(config, {.dtype = "BF16"});
  for (const int readers : {1, 3}) {
    ModelMemory memory = make_memory({StateFormat::kExact, "llama", {}, true}, config);
    int ends = 0;
    load_weights(memory, source.path, {.readers = readers, .progress = [&](uint64_t done, uint64_t total) {
                                         ends += done == total ? 1 : 0;
                                       }});
    EXPECT_EQ(ends, 1) << readers << " readers";
  }
}

TEST(WeightLoader, NonFiniteWeightsAreRefusedByTensorAndElement) {
  const ModelConfig config = tiny_model(2);
  for (const bool has_state : {true, false}) {
    for (const char* dtype : {"BF16", "F32"}) {
      for (const LayerLayout& layout : layer_layouts(config)) {
        for (const TensorPlace& place : layout.tensors()) {
          const SourceFolder source(config, {.dtype = dtype, .shard_bytes = 3000, .bad_tensor = place.spec.name});
          ModelMemory memory = make_memory({StateFormat::kExact, "llama", {}, has_state}, config);
          try {
            load_weights(memory, source.path, {.readers = 3});
            ADD_FAILURE() << place.spec.name << " was loaded";
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ExitCode::kBadInput);
            const std::string message = error.what();
            EXPECT_NE(message.find("tensor " + place.spec.name + " holds inf at element 7"), std::string::npos)
                << message;
          }
        }
      }
    }
  }
}

// Finite, and the last value whose bf16 half is still finite is one bit below.
TEST(WeightLoader, AValueWhoseWireWeightIsInfiniteIsRefused) {
  const ModelConfig config = tiny_model(2);
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const uint32_t bits : {0x7f7f7fffu, 0x7f7f8000u, 0x7f7fffffu, 0xff7f7fffu, 0xff7f8000u}) {
    const bool is_narrow_enough = (bits & 0x7fffffffu) < 0x7f7f8000u;
    const SourceFolder source(config, {.dtype = "F32", .bad_tensor = name, .bad_value = std::bit_cast<float>(bits)});
    for (const bool has_state : {true, false}) {
      for (const StateFormat format : {StateFormat::kExact, StateFormat::kFloat32}) {
        SCOPED_TRACE(std::to_string(bits) + (has_state ? " with" : " without") + " state");
        ModelMemory memory = make_memory({format, "llama", {}, has_state}, config);
        std::string message;
        try {
          load_weights(memory, source.path, {.readers = 2});
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kBadInput);
          message = error.what();
        }
        const bool is_refused = format == StateFormat::kExact && !is_narrow_enough;
        EXPECT_EQ(message.find("tensor " + name) != std::string::npos &&
                      message.find("at element 7, which is infinite as a bfloat16") != std::string::npos,
                  is_refused)
            << message;
        EXPECT_EQ(message.empty(), !is_refused) << message;
      }
    }
  }
}

// Both directions: what was loaded is what is exported.
TEST(WeightLoader, ExportWritesWhatWasLoaded) {
  for (const char* family : {"llama", "smollm3"}) {
    for (const bool has_state : {true, false}) {
      const ModelConfig config = tiny_model(2, 44, family);
      const SourceFolder source(config, {.dtype = "F32"});
      ModelMemory memory = make_memory({StateFormat::kExact, family, {"*layers.0.*"}, has_state}, config);
      load_weights(memory, source.path);
      const std::string out = source.path + "/out";
      export_model(memory, out, {.dtype = DType::kFloat32, .source = source.path, .max_shard_bytes = 4000});
      const WeightFolder written(out, memory.layouts());
      uint64_t tensor = 0;
      for (const LayerLayout& layout : memory.layouts()) {
        for (const TensorPlace& place : layout.tensors()) {
          const bool is_whole = has_state && place.spec.trainable;
          std::vector<float> values(place.element_count);
          written.read(place.spec.name, 0, values);
          for (size_t i = 0; i < values.size(); ++i) {
            const float value = value_of(tensor, i);
            ASSERT_EQ(values[i], is_whole ? value : float_from_bf16(split_master(value).hi)) << place.spec.name;
          }
          ++tensor;
        }
      }
    }
  }
}

}  // namespace
}  // namespace penstock
