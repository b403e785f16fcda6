#include "model/hf_folder_writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "loose_folder.h"
#include "model/byte_tokenizer_files.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

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
      weights.read(place.spec.name, 1, values);
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], marked_value(layer, place.offset, 1 + i)) << place.spec.name << " " << i;
      }
    }
  }
}

void write_tiny(const std::string& path, const ModelFolderSettings& settings, const LayerTensorSource& source) {
  write_model_folder(path, tiny_config(), layer_layouts(tiny_config()), settings, source);
}

TEST(ModelFolder, RoundTripInBothDtypes) {
  const TemporaryFolder folder;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const std::string path = folder.path(std::string(dtype_name(dtype)));
    write_tiny(path, {.dtype = dtype}, marked_source(dtype));
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
  write_tiny(folder.path("model/"), {}, marked_source(DType::kBFloat16));
  expect_marked(folder.path("model"), tiny_config());
  EXPECT_EQ(folder.entry_count(), 1u);
}

TEST(ModelFolder, ReplacesAModelOnlyWhenAsked) {
  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  write_tiny(path, {.tokenizer = TokenizerFiles::kBytes}, marked_source(DType::kBFloat16));
  expect_error(ExitCode::kBadInput, {path, "overwrite"},
               [&] { write_tiny(path, {}, marked_source(DType::kBFloat16)); });
  EXPECT_TRUE(fs::exists(path + "/tokenizer.json"));
  write_tiny(path, {.overwrite = true}, marked_source(DType::kBFloat16));
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
  write_tiny(folder.path("empty"), {}, marked_source(DType::kBFloat16));
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
                   [&] { write_tiny(folder.path("model"), {.dtype = dtype}, poisoned); });
      EXPECT_EQ(folder.entry_count(), 0u);
    }
  }
}

TEST(ModelFolder, TheByteTokenizerIsWrittenOnRequest) {
  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  write_tiny(path, {.tokenizer = TokenizerFiles::kBytes}, marked_source(DType::kBFloat16));
  EXPECT_EQ(TemporaryFolder::read(path + "/tokenizer.json"), byte_tokenizer_json());
  EXPECT_EQ(json::parse(TemporaryFolder::read(path + "/tokenizer_config.json"))["model_max_length"], 2048);
}

std::vector<std::string> file_names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Tensors a shard may hold: 12624 bytes are the embedding alone, and every other tensor is smaller.
TEST(ModelFolder, ShardsFillInOrderAndTheIndexNamesThem) {
  const TemporaryFolder folder;
  for (const uint64_t limit : {uint64_t{1}, uint64_t{4000}, uint64_t{12624}, uint64_t{20000}}) {
    SCOPED_TRACE(limit);
    const std::string path = folder.path(std::to_string(limit));
    write_tiny(path, {.max_shard_bytes = limit}, marked_source(DType::kBFloat16));
    expect_marked(path, tiny_config());
    const json index = json::parse(TemporaryFolder::read(path + "/model.safetensors.index.json"));
    EXPECT_EQ(index["metadata"]["total_size"], 2 * parameter_count(tiny_config()));
    std::map<std::string, uint64_t> shard_bytes;
    for (const auto& [name, shard] : index["weight_map"].items()) {
      const SafetensorsFile file(path + "/" + shard.get<std::string>());
      shard_bytes[shard] += file.find(name)->byte_count;
    }
    uint64_t number = 0;
    for (const auto& [shard, bytes] : shard_bytes) {
      EXPECT_EQ(shard, fmt::format("model-{:05}-of-{:05}.safetensors", ++number, shard_bytes.size()));
      const SafetensorsFile file(path + "/" + shard);
      EXPECT_TRUE(bytes <= limit || file.entries().size() == 1) << shard << " " << bytes;
    }
    EXPECT_EQ(file_names(path).size(), shard_bytes.size() + 3);  // config, generation_config, index
  }
  // Exactly all bytes: one file and no index.
  const auto all = static_cast<uint64_t>(2 * parameter_count(tiny_config()));
  write_tiny(folder.path("one"), {.max_shard_bytes = all}, marked_source(DType::kBFloat16));
  EXPECT_TRUE(fs::exists(folder.path("one/model.safetensors")));
  EXPECT_FALSE(fs::exists(folder.path("one/model.safetensors.index.json")));
  write_tiny(folder.path("two"), {.max_shard_bytes = all - 1}, marked_source(DType::kBFloat16));
  EXPECT_TRUE(fs::exists(folder.path("two/model-00002-of-00002.safetensors")));
}

TEST(ModelFolder, KeepsTheFilesOfItsSource) {
  const LooseFolder source;
  const std::map<std::string, std::string> kept = {{"tokenizer.json", "{not ours}"},
                                                   {"chat_template.jinja", "{{ x }}"},
                                                   {"LICENSE", ""},
                                                   {"modeling_x.py", "raise SystemExit"},
                                                   {"generation_config.json", "{\"a\":1}"},
                                                   {".gitattributes", std::string(3'000'000, 'g')}};
  for (const auto& [name, text] : kept) source.folder.write(name, text);
  for (const char* name : {"model.safetensors", "pytorch_model.bin", "a.pt", "a.pth", "a.gguf", "a.onnx", "tf.h5",
                           "flax.msgpack", "model.safetensors.index.json", "pytorch_model.bin.index.json"}) {
    source.folder.write(name, "weights");
  }
  fs::create_directory(source.folder.path("onnx"));
  fs::create_directory(source.folder.path("additional_chat_templates"));
  source.folder.write("additional_chat_templates/tools.jinja", "{{ tools }}");
  fs::create_symlink("../LICENSE", source.folder.path("additional_chat_templates/inner.jinja"));
  const TemporaryFolder elsewhere;
  fs::create_symlink(elsewhere.write("secret", "key"), source.folder.path("notes.txt"));
  fs::create_symlink(elsewhere.path("secret"), source.folder.path("additional_chat_templates/outer.jinja"));
  fs::create_symlink("LICENSE", source.folder.path("COPYING"));
  fs::create_symlink("absent", source.folder.path("dangling"));
  ASSERT_EQ(::mkfifo(source.folder.path("pipe").c_str(), 0600), 0);

  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  const ModelFolderSettings settings = {.tokenizer = TokenizerFiles::kBytes, .source = source.path()};
  write_tiny(path, settings, marked_source(DType::kBFloat16));
  for (const auto& [name, text] : kept) EXPECT_EQ(TemporaryFolder::read(path + "/" + name), text) << name;
  EXPECT_EQ(file_names(path),
            (std::vector<std::string>{".gitattributes", "COPYING", "LICENSE", "additional_chat_templates",
                                      "chat_template.jinja", "config.json", "generation_config.json",
                                      "model.safetensors", "modeling_x.py", "tokenizer.json"}));
  EXPECT_EQ(file_names(path + "/additional_chat_templates"), (std::vector<std::string>{"inner.jinja", "tools.jinja"}));
  EXPECT_EQ(TemporaryFolder::read(path + "/additional_chat_templates/tools.jinja"), "{{ tools }}");
  EXPECT_FALSE(fs::is_symlink(path + "/COPYING"));
  EXPECT_EQ(TemporaryFolder::read(path + "/config.json"), TemporaryFolder::read(source.folder.path("config.json")));
  expect_marked(path, tiny_config());
  EXPECT_NO_THROW(check_model_folder_target(path, true));  // what we wrote we replace
  fs::create_directory(path + "/additional_chat_templates/more");
  expect_error(ExitCode::kBadInput, {"more than a model"}, [&] { check_model_folder_target(path, true); });
}

// Their files belong to another folder, or are there already.
TEST(ModelFolder, LinkedTemplatesAreNotFollowed) {
  const TemporaryFolder elsewhere;
  elsewhere.write("secret.jinja", "key");
  for (const std::string& target : {elsewhere.path(""), std::string(".")}) {
    const LooseFolder source;
    source.folder.write("chat_template.jinja", "{{ x }}");
    fs::create_directory_symlink(target, source.folder.path("additional_chat_templates"));
    const TemporaryFolder folder;
    write_tiny(folder.path("model"), {.source = source.path()}, marked_source(DType::kBFloat16));
    EXPECT_TRUE(fs::exists(folder.path("model/chat_template.jinja")));
    EXPECT_FALSE(fs::exists(folder.path("model/additional_chat_templates"))) << target;
  }
}

TEST(ModelFolder, PatchesOnlyTheElementType) {
  const LooseFolder source;
  json config = json::parse(TemporaryFolder::read(source.folder.path("config.json")));
  config["_name_or_path"] = "someone/else";
  source.folder.write("config.json", config.dump(4));
  const TemporaryFolder folder;
  write_tiny(folder.path("model"), {.dtype = DType::kFloat32, .source = source.path()}, marked_source(DType::kFloat32));
  json written = json::parse(TemporaryFolder::read(folder.path("model/config.json")));
  for (const char* key : {"dtype", "torch_dtype"}) {
    EXPECT_EQ(written[key], "float32");
    written[key] = config[key];
  }
  EXPECT_EQ(written, config);
}

TEST(ModelFolder, ASourceWithoutTokenizerGetsTheByteTokenizer) {
  const LooseFolder source;
  const TemporaryFolder folder;
  write_tiny(folder.path("model"), {.tokenizer = TokenizerFiles::kBytes, .source = source.path()},
             marked_source(DType::kBFloat16));
  EXPECT_EQ(TemporaryFolder::read(folder.path("model/tokenizer.json")), byte_tokenizer_json());
  // Settings without a tokenizer are none, and would give ours the special tokens of another.
  source.folder.write("special_tokens_map.json", "{}");
  source.folder.write("tokenizer_config.json", "{}");
  write_tiny(folder.path("model"), {.tokenizer = TokenizerFiles::kBytes, .overwrite = true, .source = source.path()},
             marked_source(DType::kBFloat16));
  EXPECT_EQ(TemporaryFolder::read(folder.path("model/tokenizer.json")), byte_tokenizer_json());
  EXPECT_EQ(TemporaryFolder::read(folder.path("model/tokenizer_config.json")), byte_tokenizer_config_json(2048));
  EXPECT_FALSE(fs::exists(folder.path("model/special_tokens_map.json")));
  expect_error(ExitCode::kBadInput, {"gone", "config.json"}, [&] {
    write_tiny(folder.path("other"), {.source = folder.path("gone")}, marked_source(DType::kBFloat16));
  });
  EXPECT_EQ(folder.entry_count(), 1u);
}

TEST(ModelFolder, OtherTensorsOfAMultimodalSourcePassThrough) {
  LooseFolder source;
  const json text = json::parse(TemporaryFolder::read(source.folder.path("config.json")));
  source.folder.write("config.json", json({{"model_type", "llava"}, {"text_config", text}}).dump());
  source.rename("model.", "model.language_model.");
  source.tensors["model.vision_tower.ids"] = {.shape = {1, 7}, .dtype = "I64", .shard = "b.safetensors"};
  source.tensors["model.vision_tower.patch"] = {.shape = {3, 5}, .dtype = "F16"};
  source.tensors["scale"] = {.shape = {}, .dtype = "F64"};
  for (auto& [name, tensor] : source.tensors) {
    if (tensor.shard == "model.safetensors") tensor.shard = "a.safetensors";
  }
  source.write_weights();
  source.write_index(source.weight_map());

  const TemporaryFolder folder;
  const std::string path = folder.path("model");
  write_tiny(path, {.source = source.path()}, marked_source(DType::kBFloat16));
  expect_marked(path, tiny_config());
  const SafetensorsFile written(path + "/model.safetensors");
  EXPECT_EQ(written.entries().size(), source.tensors.size());
  for (const char* name : {"model.vision_tower.ids", "model.vision_tower.patch", "scale"}) {
    const SafetensorsFile from(source.folder.path(source.tensors.at(name).shard));
    ASSERT_EQ(written.find(name)->dtype, source.tensors.at(name).dtype);
    ASSERT_EQ(written.find(name)->shape, source.tensors.at(name).shape);
    std::vector<std::byte> expected(from.find(name)->byte_count), found(expected.size());
    from.read_bytes(*from.find(name), 0, expected);
    written.read_bytes(*written.find(name), 0, found);
    EXPECT_EQ(found, expected) << name;
  }

  // Over itself, and then without the weights that would have to pass through.
  write_tiny(source.path(), {.overwrite = true, .source = source.path()}, marked_source(DType::kBFloat16));
  EXPECT_TRUE(SafetensorsFile(source.folder.path("model.safetensors")).find("scale") != nullptr);
  fs::remove(source.folder.path("model.safetensors"));
  expect_error(ExitCode::kBadInput, {"holds no weights", "pass through"},
               [&] { check_model_folder_source(source.path(), layer_layouts(tiny_config())); });
  expect_error(ExitCode::kBadInput, {"holds no weights", "pass through"},
               [&] { write_tiny(folder.path("other"), {.source = source.path()}, marked_source(DType::kBFloat16)); });
  EXPECT_EQ(folder.entry_count(), 1u);
}

}  // namespace
}  // namespace penstock
