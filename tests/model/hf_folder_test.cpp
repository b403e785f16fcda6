#include "model/hf_folder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>

#include "core/byte_vocabulary.h"
#include "core/bf16.h"
#include "expect_error.h"
#include "model/byte_tokenizer_files.h"
#include "model/layer_specs.h"
#include "model/safetensors_writer.h"
#include "nlohmann/json.hpp"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 263;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.bos_token_id = kByteBos;
  config.eos_token_ids = {kByteEos};
  config.pad_token_id = kBytePad;
  return config;
}

// A value that tells layer, tensor and element apart and that bf16 holds exactly.
float marked_value(size_t layer, uint64_t offset, uint64_t element) {
  return static_cast<float>((layer * 41 + offset / 128 * 7 + element) % 251) - 125.0f;
}

LayerTensorSource marked_source(DType dtype) {
  return [dtype](size_t layer, const TensorPlace& place, uint64_t first, std::span<std::byte> out) {
    const uint64_t width = dtype_bytes(dtype);
    for (uint64_t i = 0; i < out.size() / width; ++i) {
      const float value = marked_value(layer, place.offset, first + i);
      const bf16_bits half = bf16_from_float(value);
      std::memcpy(&out[i * width], dtype == DType::kFloat32 ? static_cast<const void*>(&value) : &half, width);
    }
  };
}

void expect_marked(const std::string& path, const ModelConfig& config) {
  const std::vector<LayerLayout> layouts = layer_layouts(config);
  const WeightFolder weights(path, layouts);
  for (size_t layer = 0; layer < layouts.size(); ++layer) {
    for (const TensorPlace& place : layouts[layer].tensors()) {
      std::vector<float> values(place.element_count - 1);
      weights.read(place.spec, 1, values);
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], marked_value(layer, place.offset, 1 + i)) << place.spec.name << " " << i;
      }
    }
  }
}

// The tensors of a model as loose files, for folders that our writer would never write.
class LooseFolder {
 public:
  LooseFolder() {
    for (const LayerLayout& layout : layer_layouts(tiny_config())) {
      for (const TensorPlace& place : layout.tensors()) shapes[place.spec.name] = place.spec.shape;
    }
  }
  // Writes one file with the tensors whose shard is `file`, and returns nothing but the file.
  void write_file(const std::string& file, const std::map<std::string, std::string>& shard_of) const {
    std::vector<SafetensorsSpec> specs;
    for (const auto& [name, shape] : shapes) {
      if (shard_of.contains(name) ? shard_of.at(name) == file : file == "model.safetensors") {
        specs.push_back({.name = name, .dtype = DType::kBFloat16, .shape = shape});
      }
    }
    write_safetensors(folder.path(file), specs, [&](size_t, uint64_t, std::span<std::byte> out) {
      const uint16_t bits = bf16_from_float(value);
      for (size_t i = 0; i < out.size(); i += 2) std::memcpy(&out[i], &bits, 2);
    });
  }
  void write_index(const json& weight_map) const {
    folder.write("model.safetensors.index.json", json{{"metadata", json::object()}, {"weight_map", weight_map}}.dump());
  }
  // Blocks in one shard, the ends in another.
  std::map<std::string, std::string> two_shards() const {
    std::map<std::string, std::string> shard_of;
    for (const auto& [name, shape] : shapes) {
      shard_of[name] = name.find("layers") == std::string::npos ? "ends.safetensors" : "blocks.safetensors";
    }
    return shard_of;
  }
  void open() const { WeightFolder weights(folder.path(""), layer_layouts(tiny_config())); }
  void expect_refused(const std::vector<std::string>& parts) const {
    expect_error(ExitCode::kBadInput, parts, [&] { open(); });
  }

  TemporaryFolder folder;
  std::map<std::string, std::vector<int64_t>> shapes;
  float value = 0.5f;
};

TEST(ModelFolder, RoundTripInBothDtypes) {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const std::string path = folder.path(std::string(dtype_name(dtype)));
    write_model_folder(path, tiny_config(), {.dtype = dtype}, marked_source(dtype));
    EXPECT_EQ(load_model_config(path), tiny_config());
    expect_marked(path, tiny_config());
    EXPECT_EQ(json::parse(TemporaryFolder::read(path + "/config.json"))["torch_dtype"], dtype_name(dtype));
    EXPECT_EQ(json::parse(TemporaryFolder::read(path + "/generation_config.json"))["eos_token_id"], 257);
    EXPECT_FALSE(fs::exists(path + "/tokenizer.json"));
  }
  EXPECT_EQ(folder.entry_count(), 2u);
}

TEST(ModelFolder, ATrailingSlashIsTheSameFolder) {
  const TemporaryFolder folder;
  write_model_folder(folder.path("model/"), tiny_config(), {}, marked_source(DType::kBFloat16));
  expect_marked(folder.path("model"), tiny_config());
  EXPECT_EQ(folder.entry_count(), 1u);
}

TEST(ModelFolder, ReplacesAModelOnlyWhenAsked) {
  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  write_model_folder(path, tiny_config(), {.tokenizer = TokenizerFiles::kBytes}, marked_source(DType::kBFloat16));
  expect_error(ExitCode::kBadInput, {path, "overwrite"},
               [&] { write_model_folder(path, tiny_config(), {}, marked_source(DType::kBFloat16)); });
  EXPECT_TRUE(fs::exists(path + "/tokenizer.json"));
  write_model_folder(path, tiny_config(), {.overwrite = true}, marked_source(DType::kBFloat16));
  EXPECT_FALSE(fs::exists(path + "/tokenizer.json"));  // the old files are gone, not mixed in
  expect_marked(path, tiny_config());
  EXPECT_EQ(folder.entry_count(), 1u);
}

TEST(ModelFolder, NeverReplacesWhatIsNotAModel) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path("home"));
  folder.write("home/thesis.txt", "years of work");
  folder.write("file", "x");
  fs::create_directories(folder.path("run/inner"));
  folder.write("run/config.json", "{}");
  for (const char* name : {"home", "file", "run"}) {
    expect_error(ExitCode::kBadInput, {name}, [&] { check_model_folder_target(folder.path(name), true); });
  }
  expect_error(ExitCode::kBadInput, {"no name"}, [&] { check_model_folder_target("..", true); });
  fs::create_directories(folder.path("empty"));
  EXPECT_NO_THROW(check_model_folder_target(folder.path("empty"), false));
  write_model_folder(folder.path("empty"), tiny_config(), {}, marked_source(DType::kBFloat16));
  expect_marked(folder.path("empty"), tiny_config());
}

TEST(ModelFolder, NonFiniteWeightsAreRefusedByNameAndNothingStays) {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const uint32_t bits : {0x7f800000u, 0xff800000u, 0x7fc00000u}) {
      const LayerTensorSource clean = marked_source(dtype);
      const auto poisoned = [&](size_t layer, const TensorPlace& place, uint64_t first, std::span<std::byte> out) {
        clean(layer, place, first, out);
        if (place.spec.name != "model.layers.1.mlp.down_proj.weight") return;
        const uint32_t shifted = bits >> (dtype == DType::kFloat32 ? 0 : 16);
        std::memcpy(&out[out.size() - dtype_bytes(dtype)], &shifted, dtype_bytes(dtype));
      };
      expect_error(ExitCode::kNumericStop, {"model.layers.1.mlp.down_proj.weight"},
                   [&] { write_model_folder(folder.path("model"), tiny_config(), {.dtype = dtype}, poisoned); });
      EXPECT_EQ(folder.entry_count(), 0u);
    }
  }
}

TEST(ModelFolder, MissingConfigAndMissingWeightsAreNamed) {
  const TemporaryFolder folder;
  expect_error(ExitCode::kBadInput, {"config.json", "No such file"}, [&] { load_model_config(folder.path("absent")); });
  LooseFolder loose;
  loose.folder.write("pytorch_model.bin", "x");
  loose.expect_refused({"no model.safetensors", "only safetensors"});
}

TEST(WeightFolder, NamesMissingUnexpectedAndMisshapenTensors) {
  LooseFolder loose;
  loose.write_file("model.safetensors", {});
  EXPECT_NO_THROW(loose.open());

  loose.shapes["model.layers.0.self_attn.rotary_emb.inv_freq"] = {2};
  loose.write_file("model.safetensors", {});
  EXPECT_NO_THROW(loose.open());

  loose.shapes["model.layers.0.self_attn.q_proj.bias"] = {24};
  loose.write_file("model.safetensors", {});
  loose.expect_refused({"unexpected model.layers.0.self_attn.q_proj.bias"});

  loose.shapes.erase("lm_head.weight");
  loose.write_file("model.safetensors", {});
  loose.expect_refused({"missing lm_head.weight", "unexpected model.layers.0.self_attn.q_proj.bias"});

  LooseFolder wrong;
  wrong.shapes["model.layers.1.self_attn.k_proj.weight"] = {24, 8};
  wrong.write_file("model.safetensors", {});
  wrong.expect_refused({"model.layers.1.self_attn.k_proj.weight", "[24, 8]", "[8, 24]"});
}

TEST(WeightFolder, LongListsOfNamesAreCut) {
  LooseFolder loose;
  std::erase_if(loose.shapes, [](const auto& entry) { return entry.first.find("layers.1.") != std::string::npos; });
  loose.write_file("model.safetensors", {});
  loose.expect_refused({"missing model.layers.1.input_layernorm.weight", "and 6 more"});
}

TEST(WeightFolder, RefusesNonFiniteValuesAndOtherDtypes) {
  LooseFolder loose;
  loose.value = std::numeric_limits<float>::infinity();
  loose.write_file("model.safetensors", {});
  const std::vector<LayerLayout> layouts = layer_layouts(tiny_config());
  const WeightFolder weights(loose.folder.path(""), layouts);
  std::vector<float> values(2);
  expect_error(ExitCode::kBadInput, {"model.embed_tokens.weight", "inf", "element 5"},
               [&] { weights.read(layouts[0].tensors()[0].spec, 5, values); });

  std::string bytes = TemporaryFolder::read(loose.folder.path("model.safetensors"));
  bytes.replace(bytes.find("\"BF16\""), 6, "\"I16\" ");
  loose.folder.write("model.safetensors", bytes);
  loose.expect_refused({"lm_head.weight", "is I16"});
}

TEST(WeightFolder, ReadsShardsThroughTheIndex) {
  LooseFolder loose;
  const auto shard_of = loose.two_shards();
  loose.write_file("ends.safetensors", shard_of);
  loose.write_file("blocks.safetensors", shard_of);
  loose.write_index(shard_of);
  const std::vector<LayerLayout> layouts = layer_layouts(tiny_config());
  const WeightFolder weights(loose.folder.path(""), layouts);
  for (const LayerLayout& layout : layouts) {
    for (const TensorPlace& place : layout.tensors()) {
      std::vector<float> values(place.element_count);
      weights.read(place.spec, 0, values);
      EXPECT_EQ(values, std::vector<float>(values.size(), 0.5f)) << place.spec.name;
    }
  }
}

TEST(WeightFolder, RefusesIndexesThatDoNotMatchTheirShards) {
  LooseFolder loose;
  const auto shard_of = loose.two_shards();
  loose.write_file("ends.safetensors", shard_of);
  loose.write_file("blocks.safetensors", shard_of);

  auto wrong_shard = shard_of;
  wrong_shard["lm_head.weight"] = "blocks.safetensors";
  loose.write_index(wrong_shard);
  loose.expect_refused({"index.json", "lm_head.weight is not in blocks.safetensors"});

  auto unlisted = shard_of;
  unlisted.erase("lm_head.weight");
  loose.write_index(unlisted);
  loose.expect_refused({"index.json", "does not list tensor lm_head.weight"});

  auto absent_tensor = shard_of;
  absent_tensor["model.extra.weight"] = "ends.safetensors";
  loose.write_index(absent_tensor);
  loose.expect_refused({"model.extra.weight is not in ends.safetensors"});

  auto absent_shard = shard_of;
  absent_shard["lm_head.weight"] = "gone.safetensors";
  loose.write_index(absent_shard);
  loose.expect_refused({"gone.safetensors", "No such file"});

  auto twice = shard_of;
  twice["lm_head.weight"] = "blocks.safetensors";
  loose.write_file("blocks.safetensors", twice);
  loose.write_index(shard_of);
  loose.expect_refused({"lm_head.weight", "is also in"});

  loose.write_file("model.safetensors", {});
  loose.expect_refused({"both model.safetensors and"});
}

TEST(WeightFolder, IndexEntriesMustBePlainBaseNames) {
  LooseFolder loose;
  for (const json& name : {json("../up.safetensors"), json("/etc/x.safetensors"), json("a\\b.safetensors"), json(""),
                           json(".."), json("model.bin"), json(7), json(std::string("a\0.safetensors", 14))}) {
    loose.write_index({{"lm_head.weight", name}});
    loose.expect_refused({"index.json", "same folder"});
  }
  loose.write_index(json::object());
  loose.expect_refused({"weight_map is empty"});
  loose.folder.write("model.safetensors.index.json", "{}");
  loose.expect_refused({"no weight_map"});
  loose.folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})");
  loose.expect_refused({"twice"});
}

TEST(ByteTokenizerFiles, VocabularyIsTheByteLevelAlphabetInByteOrder) {
  const json root = json::parse(byte_tokenizer_json());
  const json& vocabulary = root["model"]["vocab"];
  EXPECT_EQ(vocabulary.size(), 256u);
  // Known members of GPT-2's alphabet.
  EXPECT_EQ(vocabulary["A"], 65);
  EXPECT_EQ(vocabulary["\u0120"], 0x20);  // space
  EXPECT_EQ(vocabulary["\u010a"], 0x0a);  // newline
  EXPECT_EQ(vocabulary["\u0100"], 0);
  EXPECT_EQ(vocabulary["\u0121"], 0x7f);
  EXPECT_EQ(vocabulary["\u0143"], 0xad);
  EXPECT_EQ(vocabulary["\u00ff"], 0xff);
  EXPECT_TRUE(root["model"]["merges"].empty());
  EXPECT_EQ(root["added_tokens"][0]["id"], kByteBos);
  EXPECT_EQ(root["added_tokens"][2]["id"], kBytePad);
}

TEST(ByteTokenizerFiles, AreWrittenOnRequest) {
  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  write_model_folder(path, tiny_config(), {.tokenizer = TokenizerFiles::kBytes}, marked_source(DType::kBFloat16));
  EXPECT_EQ(TemporaryFolder::read(path + "/tokenizer.json"), byte_tokenizer_json());
  EXPECT_EQ(json::parse(TemporaryFolder::read(path + "/tokenizer_config.json"))["model_max_length"], 2048);
}

}  // namespace
}  // namespace penstock
