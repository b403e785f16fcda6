// config.json as Penstock writes it, and as it patches the source's.
#include <gtest/gtest.h>

#include "config_cases.h"
#include "expect_error.h"

namespace penstock {
namespace {

using nlohmann::json;

ModelConfig family_config(const std::string& type) {
  ModelConfig config = small_config();
  config.model_type = type;
  config.qkv_bias = type == "qwen2";
  config.qk_norm = type == "qwen3";
  return config;
}

void expect_round_trip(const ModelConfig& config) {
  const std::string text = config_json_text(config, DType::kFloat32);
  EXPECT_EQ(parse_config_json(text, "config.json"), config) << text;
  // A reader of one dialect ignores the other's keys.
  json version4 = json::parse(text), version5 = version4;
  version4.erase("rope_parameters");
  version5.erase("rope_scaling");
  version5.erase("rope_theta");
  EXPECT_EQ(parse_json(version4), config) << text;
  EXPECT_EQ(parse_json(version5), config) << text;
  EXPECT_EQ(version4["torch_dtype"], "float32");
  EXPECT_EQ(version5["dtype"], "float32");
}

TEST(ConfigWriter, EveryFamilyReadsBackEqual) {
  for (const std::string type : kFamilyNames) {
    SCOPED_TRACE(type);
    ModelConfig config = family_config(type);
    expect_round_trip(config);
    config.bos_token_id = config.pad_token_id = -1;
    config.eos_token_ids = {3, 7};
    config.tie_word_embeddings = true;
    config.rope_scaling = {.type = RopeType::kDynamic, .factor = 2};
    expect_round_trip(config);
    config.eos_token_ids = {};
    config.tie_word_embeddings = false;
    config.rope_scaling = {.type = RopeType::kLinear, .factor = 1.1};
    expect_round_trip(config);
    config.rope_scaling = {.type = RopeType::kLlama3,
                           .factor = 8,
                           .original_max_position_embeddings = 16,
                           .low_freq_factor = 1,
                           .high_freq_factor = 4.5};
    expect_round_trip(config);
    config.rope_scaling = {.type = RopeType::kYarn,
                           .factor = 4,
                           .original_max_position_embeddings = 16,
                           .beta_fast = 30,
                           .beta_slow = 2,
                           .truncate = false,
                           .attention_factor = 1.1234567890123457};
    expect_round_trip(config);
  }
}

TEST(ConfigWriter, SwitchesReadBackEqual) {
  for (const char* type : {"llama", "qwen3", "smollm3"}) {
    ModelConfig config = family_config(type);
    config.qkv_bias = config.output_bias = true;
    config.mlp_bias = std::string(type) != "qwen3";
    expect_round_trip(config);
  }
  ModelConfig mistral = family_config("mistral");
  mistral.windows = {9, 9, 9};
  expect_round_trip(mistral);
  for (const char* type : {"qwen2", "qwen3", "smollm3"}) {
    ModelConfig config = family_config(type);
    for (const std::vector<int64_t>& windows : {std::vector<int64_t>{0, 7, 7}, {7, 0, 0}, {7, 7, 7}}) {
      config.windows = windows;
      expect_round_trip(config);
    }
  }
  ModelConfig smollm3 = family_config("smollm3");
  smollm3.rotary_blocks = {1, 0, 1};
  expect_round_trip(smollm3);
}

// Readers older than layer_types go by max_window_layers.
TEST(ConfigWriter, MaxWindowLayersCountsTheFullBlocksBelow) {
  ModelConfig config = family_config("qwen2");
  config.windows = {0, 7, 7};
  json value = json::parse(config_json_text(config, DType::kBFloat16));
  value.erase("layer_types");
  EXPECT_EQ(parse_json(value), config);
}

TEST(ConfigWriter, RefusesWhatTheFamilyCannotSay) {
  const auto refuse = [](const char* type, const std::function<void(ModelConfig&)>& change, const char* part) {
    ModelConfig config = family_config(type);
    change(config);
    expect_error(ExitCode::kBadInput, {part, type}, [&] { config_json_text(config, DType::kFloat32); });
  };
  refuse(
      "llama", [](ModelConfig& c) { c.qkv_bias = true; }, "bias of q");
  refuse(
      "mistral", [](ModelConfig& c) { c.qkv_bias = c.output_bias = true; }, "bias of q");
  refuse(
      "qwen2", [](ModelConfig& c) { c.qkv_bias = false; }, "bias of q");
  refuse(
      "qwen2", [](ModelConfig& c) { c.mlp_bias = true; }, "mlp_bias");
  refuse(
      "llama", [](ModelConfig& c) { c.qk_norm = true; }, "norm of queries");
  refuse(
      "qwen3", [](ModelConfig& c) { c.qk_norm = false; }, "norm of queries");
  refuse(
      "qwen3",
      [](ModelConfig& c) {
        c.rotary_blocks = {1, 0, 1};
      },
      "rotary");
  refuse(
      "llama",
      [](ModelConfig& c) {
        c.windows = {4, 4, 4};
      },
      "windows");
  refuse(
      "mistral",
      [](ModelConfig& c) {
        c.windows = {4, 0, 4};
      },
      "windows");
  refuse(
      "qwen2",
      [](ModelConfig& c) {
        c.windows = {4, 0, 5};
      },
      "windows");
}

TEST(ConfigWriter, GenerationConfigNamesTheSpecialTokens) {
  const json value = json::parse(generation_config_json_text(small_config()));
  EXPECT_EQ(value["bos_token_id"], 256);
  EXPECT_EQ(value["eos_token_id"], 257);
  EXPECT_EQ(value["pad_token_id"], 258);
}

std::string patch(const std::string& text, DType dtype = DType::kBFloat16) {
  return patch_config_json(text, "config.json", dtype);
}

TEST(ConfigPatch, ChangesTheElementTypeAndNothingElse) {
  const std::string before =
      "{\n\t\"z\": 1e-06,  \"torch_dtype\" : \"float16\",\r\n \"a\": [1.0, {\"dtype\": \"x\"}]\n}";
  const std::string after =
      "{\n\t\"z\": 1e-06,  \"torch_dtype\" : \"bfloat16\",\r\n \"a\": [1.0, {\"dtype\": \"x\"}]\n}";
  EXPECT_EQ(patch(before), after);
  EXPECT_EQ(patch(after), after);
  EXPECT_EQ(patch("\xef\xbb\xbf" + before), "\xef\xbb\xbf" + after);
  EXPECT_EQ(patch(R"({"dtype":null,"torch_dtype":"float32"})"), R"({"dtype":"bfloat16","torch_dtype":"bfloat16"})");
  EXPECT_EQ(patch(R"({"d\u0074ype": "float32", "b": "}\"dtype\": \\"})"),
            R"({"d\u0074ype": "bfloat16", "b": "}\"dtype\": \\"})");
}

TEST(ConfigPatch, ReachesTheTextPartOnly) {
  EXPECT_EQ(
      patch(R"({"vision_config": {"dtype": "float16"}, "text_config": {"a": {"dtype": "x"}, "dtype": "float16"}})"),
      R"({"vision_config": {"dtype": "float16"}, "text_config": {"a": {"dtype": "x"}, "dtype": "bfloat16"}})");
  EXPECT_EQ(patch(R"({"torch_dtype": "float16", "text_config": {"torch_dtype": "float16", "z": 0}})"),
            R"({"torch_dtype": "bfloat16", "text_config": {"torch_dtype": "bfloat16", "z": 0}})");
  EXPECT_EQ(patch(R"({"torch_dtype": "float16", "text_config": null})"),
            R"({"torch_dtype": "bfloat16", "text_config": null})");
}

TEST(ConfigPatch, AddsTheKeyOfTheDialectWhereThereIsNone) {
  EXPECT_EQ(patch("{\n  \"a\": 1\n}\n"), "{\n  \"a\": 1,\n  \"torch_dtype\": \"bfloat16\"\n}\n");
  EXPECT_EQ(patch(R"({"a": 1})"), R"({"a": 1, "torch_dtype": "bfloat16"})");
  EXPECT_EQ(patch(R"({"rope_parameters": {}})"), R"({"rope_parameters": {}, "dtype": "bfloat16"})");
  EXPECT_EQ(patch(R"({"transformers_version": "5.23.0"})"),
            R"({"transformers_version": "5.23.0", "dtype": "bfloat16"})");
  EXPECT_EQ(patch(R"({"transformers_version": "4.57.1"})", DType::kFloat32),
            R"({"transformers_version": "4.57.1", "torch_dtype": "float32"})");
}

TEST(ConfigPatch, PatchedTextOfEveryFamilyIsTheSameModel) {
  for (const std::string type : kFamilyNames) {
    const std::string text = config_json_text(family_config(type), DType::kFloat32);
    EXPECT_EQ(patch(text, DType::kFloat32), text);
    EXPECT_EQ(patch(text), config_json_text(family_config(type), DType::kBFloat16));
  }
}

TEST(ConfigPatch, RefusesWhatIsNoConfig) {
  for (const char* text : {"", "[]", "{}", "{\"a\": }"}) {
    expect_error(ExitCode::kBadInput, {"config.json"}, [&] { patch(text); });
  }
}

}  // namespace
}  // namespace penstock
