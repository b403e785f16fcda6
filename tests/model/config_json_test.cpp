#include "model/config_json.h"

#include <gtest/gtest.h>

#include <tuple>

#include "config_cases.h"
#include "expect_error.h"

namespace penstock {
namespace {

using nlohmann::json;

// As transformers 4 wrote it for Llama 2: flat rope_theta, no head_dim.
TEST(ConfigJson, ReadsVersion4Dialect) {
  const ModelConfig config = parse_config_json(R"({
    "_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "attention_bias": false,
    "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
    "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096, "model_type": "llama",
    "num_attention_heads": 32, "num_hidden_layers": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": null, "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "float16",
    "transformers_version": "4.38.0", "use_cache": true, "vocab_size": 32000})",
                                               "config.json");
  EXPECT_EQ(config.num_key_value_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.rope_theta, 500000.0);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.max_position_embeddings, 4096);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(config.pad_token_id, -1);
}

// As transformers 5.23 writes it.
TEST(ConfigJson, ReadsVersion5Dialect) {
  const ModelConfig config = parse_config_json(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": null,
    "dtype": "bfloat16", "eos_token_id": [2, 5], "head_dim": 4, "hidden_act": "silu", "hidden_size": 24,
    "initializer_range": 0.02, "intermediate_size": 40, "max_position_embeddings": 2048, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 6, "num_hidden_layers": 2, "num_key_value_heads": 2,
    "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 77000, "rope_type": "default"}, "tie_word_embeddings": false,
    "transformers_version": "5.23.0", "use_cache": true, "vocab_size": 259})",
                                               "config.json");
  EXPECT_EQ(config.rope_theta, 77000.0);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.bos_token_id, -1);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{2, 5}));
  EXPECT_EQ(config.pad_token_id, 0);
}

// Every value is what transformers 5.23 prints for <Family>Config(...) of the same shape.
TEST(ConfigJson, AbsentFieldsTakeTheFamilysDefaults) {
  struct Expected {
    int64_t kv_heads, head_dim, positions;
    double theta;
    int64_t bos, eos;
    bool tied;
  };
  const auto expected = [](const std::string& type) -> Expected {
    if (type == "llama") return {4, 4, 2048, 1e4, 1, 2, false};
    if (type == "mistral") return {8, 4, 131072, 1e4, 1, 2, false};
    if (type == "qwen2") return {32, 4, 32768, 1e4, -1, -1, false};
    if (type == "qwen3") return {32, 128, 32768, 1e4, -1, -1, false};
    return {4, 4, 32768, 2e6, 128000, 128001, true};
  };
  for (const std::string type : kFamilyNames) {
    SCOPED_TRACE(type);
    const Expected want = expected(type);
    const int64_t heads = type == "llama" ? 4 : 32;
    const ModelConfig config = parse_json({{"model_type", type},
                                           {"vocab_size", 128256},
                                           {"hidden_size", heads * 4},
                                           {"intermediate_size", 40},
                                           {"num_hidden_layers", 3},
                                           {"num_attention_heads", heads}});
    EXPECT_EQ(config.model_type, type);
    EXPECT_EQ(config.num_key_value_heads, want.kv_heads);
    EXPECT_EQ(config.head_dim, want.head_dim);
    EXPECT_EQ(config.max_position_embeddings, want.positions);
    EXPECT_EQ(config.rope_theta, want.theta);
    EXPECT_EQ(config.rms_norm_eps, 1e-6);
    EXPECT_EQ(config.initializer_range, 0.02);
    EXPECT_EQ(config.bos_token_id, want.bos);
    EXPECT_EQ(config.eos_token_ids, want.eos < 0 ? std::vector<int64_t>{} : std::vector<int64_t>{want.eos});
    EXPECT_EQ(config.pad_token_id, type == "smollm3" ? 128004 : -1);
    EXPECT_EQ(config.tie_word_embeddings, want.tied);
    EXPECT_EQ(config.windows, type == "mistral" ? std::vector<int64_t>(3, 4096) : std::vector<int64_t>{});
    EXPECT_TRUE(config.rotary_blocks.empty());  // the fourth block would be the first without
    EXPECT_EQ(config.qkv_bias, type == "qwen2");
    EXPECT_EQ(config.qk_norm, type == "qwen3");
    EXPECT_FALSE(config.output_bias || config.mlp_bias);
  }
}

TEST(ConfigJson, NullStandsForTheDerivedValueWhereTransformersTakesIt) {
  for (const std::string type : kFamilyNames) {
    SCOPED_TRACE(type);
    json value = shape_json(type);
    value["head_dim"] = nullptr;
    if (type == "llama" || type == "mistral") {
      EXPECT_EQ(parse_json(value).head_dim, 4);
    } else {
      expect_error(ExitCode::kBadInput, {"head_dim is null"}, [&] { parse_json(value); });
    }
    value = shape_json(type);
    value["num_key_value_heads"] = nullptr;
    if (type == "mistral") {
      expect_error(ExitCode::kBadInput, {"num_key_value_heads is null"}, [&] { parse_json(value); });
    } else {
      EXPECT_EQ(parse_json(value).num_key_value_heads, 6);
    }
  }
}

TEST(ConfigJson, BiasesFollowTheFamily) {
  for (const std::string type : kFamilyNames) {
    SCOPED_TRACE(type);
    json value = shape_json(type);
    value["attention_bias"] = true;
    if (type == "mistral") {
      expect_error(ExitCode::kBadInput, {"attention_bias is true"}, [&] { parse_json(value); });
    } else {
      EXPECT_TRUE(parse_json(value).qkv_bias);
      EXPECT_EQ(parse_json(value).output_bias, type != "qwen2");
    }
    value["attention_bias"] = false;
    EXPECT_EQ(parse_json(value).qkv_bias, type == "qwen2");
    value["mlp_bias"] = true;
    if (type == "llama" || type == "smollm3") {
      EXPECT_TRUE(parse_json(value).mlp_bias);
    } else {
      expect_error(ExitCode::kBadInput, {"mlp_bias is true"}, [&] { parse_json(value); });
    }
    value.erase("mlp_bias");
    value["tie_word_embeddings"] = type != "smollm3";
    EXPECT_EQ(parse_json(value).tie_word_embeddings, type != "smollm3");
  }
}

TEST(ConfigJson, WindowsFollowTheFamily) {
  json value = shape_json("mistral");
  EXPECT_EQ(parse_json(value).windows, std::vector<int64_t>(4, 4096));
  value["sliding_window"] = 5;
  EXPECT_EQ(parse_json(value).windows, std::vector<int64_t>(4, 5));
  value["sliding_window"] = nullptr;
  EXPECT_TRUE(parse_json(value).windows.empty());
  for (const char* type : {"qwen2", "qwen3"}) {
    value = shape_json(type);
    value.update({{"sliding_window", 5}, {"max_window_layers", 3}});
    EXPECT_TRUE(parse_json(value).windows.empty());
    value["use_sliding_window"] = true;
    EXPECT_EQ(parse_json(value).windows, (std::vector<int64_t>{0, 0, 0, 5}));
    value["max_window_layers"] = 0;
    EXPECT_EQ(parse_json(value).windows, std::vector<int64_t>(4, 5));
    value.erase("max_window_layers");
    EXPECT_TRUE(parse_json(value).windows.empty());  // from block 28 on
    value["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
    EXPECT_EQ(parse_json(value).windows, (std::vector<int64_t>{5, 0, 5, 0}));
    value["max_window_layers"] = 0;
    EXPECT_EQ(parse_json(value).windows, (std::vector<int64_t>{5, 0, 5, 0}));
    value["use_sliding_window"] = false;
    expect_error(ExitCode::kBadInput, {"layer_types", "sliding_window"}, [&] { parse_json(value); });
    value["use_sliding_window"] = true;
    value["sliding_window"] = nullptr;
    expect_error(ExitCode::kBadInput, {"layer_types", "sliding_window"}, [&] { parse_json(value); });
  }
}

TEST(ConfigJson, UnrotatedBlocksOfSmollm3) {
  json value = shape_json("smollm3");
  EXPECT_EQ(parse_json(value).rotary_blocks, (std::vector<uint8_t>{1, 1, 1, 0}));
  value["no_rope_layer_interval"] = 2;
  EXPECT_EQ(parse_json(value).rotary_blocks, (std::vector<uint8_t>{1, 0, 1, 0}));
  value["no_rope_layers"] = {0, 1, 1, 2};  // any other number rotates
  EXPECT_EQ(parse_json(value).rotary_blocks, (std::vector<uint8_t>{0, 1, 1, 1}));
  value["no_rope_layers"] = {1, 1, 1, 1, 0};  // entries beyond the last block say nothing
  EXPECT_TRUE(parse_json(value).rotary_blocks.empty());
  value["no_rope_layers"] = {0, 1, 1, 1};
  value["sliding_window"] = 3;
  EXPECT_TRUE(parse_json(value).windows.empty());
  value["use_sliding_window"] = true;
  EXPECT_EQ(parse_json(value).windows, (std::vector<int64_t>{3, 0, 0, 0}));
  value["layer_types"] = {"full_attention", "full_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(parse_json(value).windows, (std::vector<int64_t>{0, 0, 0, 3}));
}

TEST(ConfigJson, AcceptsTheHarmlessValuesOfFieldsThatChangeTheMaths) {
  json value = shape_json("llama");
  const ModelConfig plain = parse_json(value);
  value.update({{"attention_dropout", 0},
                {"partial_rotary_factor", 1.0},
                {"sliding_window", nullptr},
                {"use_sliding_window", false},
                {"rope_scaling", {{"rope_type", "default"}}},
                {"quantization_config", nullptr},
                {"id2label", {{"0", "x"}}},
                {"layer_types", json(4, "full_attention")},
                {"hidden_act", "swish"},
                {"pretraining_tp", 2},
                {"transformers.js_config", {{"dtype", "q4"}}}});
  EXPECT_EQ(parse_json(value), plain);
}

TEST(ConfigJson, FieldsThatChangeTheMathsSayWhatToDo) {
  const std::tuple<const char*, json, const char*> cases[] = {
      {"attention_dropout", 0.1, "set it to 0.0"},
      {"auto_map", {{"AutoModel", "code.Model"}}, "use a model whose code is part of transformers"},
      {"quantization_config", {{"bits", 4}}, "use the unquantised weights"},
      {"rope_interleaved", true, "use a model that has it"},
      {"sliding_window", 4096, "use a model that has it"},
  };
  for (const auto& [field, bad, remedy] : cases) {
    json value = shape_json("llama");
    value[field] = bad;
    expect_error(ExitCode::kBadInput, {field, remedy}, [&] { parse_json(value); });
  }
}

// No model has a token -1: as BOS it is none. As padding transformers takes it for the last row.
TEST(ConfigJson, ATokenOfMinusOne) {
  json value = shape_json("llama");
  value["bos_token_id"] = -1;
  EXPECT_EQ(parse_json(value).bos_token_id, -1);
  value["pad_token_id"] = nullptr;
  EXPECT_EQ(parse_json(value).pad_token_id, -1);
  value["pad_token_id"] = -1;
  expect_error(ExitCode::kBadInput, {"pad_token_id is -1", "null"}, [&] { parse_json(value); });
}

TEST(ConfigJson, UnknownTypesNameTheNearestFamily) {
  const std::pair<const char*, const char*> cases[] = {
      {"lama", "llama"},      {"Mistral", "mistral"},  {"qwen2_moe", "qwen2"},  {"qwen3_moe", "qwen3"},
      {"qwen2_vl", "qwen2"},  {"mixtral", "mistral"},  {"gemma3", "llama"},     {"phi3", "mistral"},
      {"smollm2", "smollm3"}, {"qwen3_next", "qwen3"}, {"ministral", "mistral"}};
  for (const auto& [type, nearest] : cases) {
    json value = shape_json(type);
    expect_error(ExitCode::kBadInput,
                 {"config.json", std::string("\"") + type + '"', "llama, mistral, qwen2, qwen3, smollm3",
                  std::string("nearest is ") + nearest},
                 [&] { parse_json(value); });
  }
}

TEST(ConfigJson, TextConfigIsReadWithTheTextFamilysDefaults) {
  const json text = {{"model_type", "llama"}, {"vocab_size", 32064}, {"max_position_embeddings", 4096}};
  json value = {{"model_type", "llava"}, {"text_config", text}, {"vision_config", {{"hidden_size", 7}}}};
  EXPECT_TRUE(has_text_config(value.dump(), "config.json"));
  const ModelConfig config = parse_json(value);
  EXPECT_EQ(config.model_type, "llama");
  EXPECT_EQ(config.vocab_size, 32064);
  EXPECT_EQ(config.hidden_size, 4096);
  EXPECT_EQ(config.num_hidden_layers, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_FALSE(config.tie_word_embeddings);
  value["tie_word_embeddings"] = true;
  EXPECT_TRUE(parse_json(value).tie_word_embeddings);
  value["text_config"]["tie_word_embeddings"] = false;
  expect_error(ExitCode::kBadInput, {"tie_word_embeddings", "text_config"}, [&] { parse_json(value); });
  EXPECT_FALSE(has_text_config(shape_json("llama").dump(), "config.json"));
}

TEST(ConfigJson, VoxtralsTextPartHasDefaultsOfItsOwn) {
  json value = {{"model_type", "voxtral"}, {"text_config", {{"model_type", "llama"}}}};
  EXPECT_EQ(parse_json(value).hidden_size, 3072);
  EXPECT_EQ(parse_json(value).rope_theta, 1e8);
  EXPECT_EQ(parse_json(value).head_dim, 128);
  value["text_config"]["rope_parameters"] = {{"rope_theta", 5.5}, {"rope_type", "default"}};
  EXPECT_EQ(parse_json(value).rope_theta, 5.5);
  value["text_config"]["hidden_size"] = 64;
  EXPECT_EQ(parse_json(value).hidden_size, 64);
}

TEST(ConfigJson, RefusesTextConfigsItCannotTrust) {
  const auto refuse = [](const json& value, const std::vector<std::string>& parts) {
    expect_error(ExitCode::kBadInput, parts, [&] { parse_json(value); });
  };
  const json text = shape_json("llama");
  refuse({{"model_type", "brand_new_vl"}, {"text_config", text}}, {"config.json: model_type", "brand_new_vl"});
  refuse({{"model_type", "llava"}, {"text_config", shape_json("gemma")}}, {"text_config: model_type", "gemma"});
  refuse({{"model_type", "llava"}, {"text_config", json::object()}}, {"text_config: model_type is missing"});
  refuse({{"model_type", "llava"}, {"text_config", text}, {"quantization_config", {{"bits", 4}}}},
         {"quantization_config"});
  refuse({{"model_type", "llava"}, {"text_config", text}, {"auto_map", {{"AutoModel", "x"}}}}, {"auto_map"});
  json with_switch = text;
  with_switch["new_switch"] = 1;
  refuse({{"model_type", "llava"}, {"text_config", with_switch}}, {"text_config: new_switch"});
  json mrope = shape_json("qwen2");
  mrope["rope_scaling"] = {{"type", "default"}, {"mrope_section", {1, 2, 2}}};
  refuse({{"model_type", "internvl"}, {"text_config", mrope}}, {"text_config: rope_scaling: mrope_section"});
}

}  // namespace
}  // namespace penstock
