#include "model/model_config.h"

#include <gtest/gtest.h>

#include <limits>

#include "expect_error.h"
#include "model/config_json.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 263;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 10;
  config.max_position_embeddings = 77;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 12345.5;
  config.initializer_range = 0.03;
  config.bos_token_id = 256;
  config.eos_token_ids = {257};
  config.pad_token_id = 258;
  return config;
}

json small_json() { return json::parse(config_json_text(small_config(), DType::kBFloat16)); }

ModelConfig parse(const json& value) { return parse_config_json(value.dump(), "config.json"); }

// Counts are those of transformers' LlamaForCausalLM.num_parameters() for the same shapes.
TEST(ModelConfig, ParameterCountEqualsTransformers) {
  EXPECT_EQ(parameter_count(small_config()), 32'952);
  ModelConfig config;
  config.vocab_size = 32'000;
  config.hidden_size = 4096;
  config.intermediate_size = 11'008;
  config.num_hidden_layers = 32;
  config.num_attention_heads = 32;
  config.num_key_value_heads = 32;
  config.head_dim = 128;
  EXPECT_EQ(parameter_count(config), 6'738'415'616);  // Llama 2 7B
  config.vocab_size = 128'256;
  config.intermediate_size = 14'336;
  config.num_key_value_heads = 8;
  EXPECT_EQ(parameter_count(config), 8'030'261'248);  // Llama 3.1 8B
}

TEST(ModelConfig, ValidateNamesFieldAndValue) {
  struct Case {
    std::function<void(ModelConfig&)> change;
    std::vector<std::string> parts;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Case> cases = {
      {[](ModelConfig& c) { c.model_type = "qwen3"; }, {"model_type", "qwen3", "llama"}},
      {[](ModelConfig& c) { c.vocab_size = 0; }, {"vocab_size is 0"}},
      {[](ModelConfig& c) { c.vocab_size = int64_t{1} << 31; }, {"vocab_size is 2147483648"}},
      {[](ModelConfig& c) { c.hidden_size = -8; }, {"hidden_size is -8"}},
      {[](ModelConfig& c) { c.hidden_size = 25; }, {"hidden_size is 25", "num_attention_heads 6"}},
      {[](ModelConfig& c) { c.intermediate_size = 0; }, {"intermediate_size is 0"}},
      {[](ModelConfig& c) { c.num_hidden_layers = 0; }, {"num_hidden_layers is 0"}},
      {[](ModelConfig& c) { c.num_hidden_layers = int64_t{1} << 40; }, {"num_hidden_layers"}},
      {[](ModelConfig& c) { c.num_attention_heads = 0; }, {"num_attention_heads is 0"}},
      {[](ModelConfig& c) { c.num_key_value_heads = 0; }, {"num_key_value_heads is 0"}},
      {[](ModelConfig& c) { c.num_key_value_heads = 4; }, {"num_key_value_heads is 4", "num_attention_heads 6"}},
      {[](ModelConfig& c) { c.head_dim = 0; }, {"head_dim is 0"}},
      {[](ModelConfig& c) { c.head_dim = 9; }, {"head_dim is 9", "even"}},
      {[](ModelConfig& c) { c.head_dim = int64_t{1} << 30; }, {"head_dim is 1073741824"}},
      {[](ModelConfig& c) { c.max_position_embeddings = 0; }, {"max_position_embeddings is 0"}},
      {[](ModelConfig& c) { c.rms_norm_eps = 0; }, {"rms_norm_eps is 0"}},
      {[nan](ModelConfig& c) { c.rms_norm_eps = nan; }, {"rms_norm_eps is nan"}},
      {[](ModelConfig& c) { c.rope_theta = -1; }, {"rope_theta is -1"}},
      {[nan](ModelConfig& c) { c.initializer_range = nan; }, {"initializer_range is nan"}},
      {[](ModelConfig& c) { c.initializer_range = -0.1; }, {"initializer_range is -0.1"}},
      {[](ModelConfig& c) { c.bos_token_id = 263; }, {"bos_token_id is 263", "vocab_size 263"}},
      {[](ModelConfig& c) {
         c.eos_token_ids = {1, 300};
       },
       {"eos_token_id is 300"}},
      {[](ModelConfig& c) { c.eos_token_ids = {-1}; }, {"eos_token_id is -1"}},
      {[](ModelConfig& c) { c.pad_token_id = -2; }, {"pad_token_id is -2"}},
      {[](ModelConfig& c) {
         c.hidden_size = 6 << 27;
         c.intermediate_size = int64_t{1} << 31;
       },
       {"hidden_size", "parameters"}},
  };
  EXPECT_NO_THROW(validate(small_config()));
  for (const Case& test : cases) {
    ModelConfig config = small_config();
    test.change(config);
    expect_error(ExitCode::kBadInput, test.parts, [&] { validate(config); });
  }
}

TEST(ConfigJson, WrittenConfigReadsBackEqual) {
  ModelConfig config = small_config();
  EXPECT_EQ(parse_config_json(config_json_text(config, DType::kFloat32), "config.json"), config);
  config.bos_token_id = -1;
  config.eos_token_ids = {3, 7};
  config.pad_token_id = -1;
  config.rope_theta = 5e5;
  EXPECT_EQ(parse_config_json(config_json_text(config, DType::kFloat32), "config.json"), config);
  config.eos_token_ids = {};
  EXPECT_EQ(parse_config_json(config_json_text(config, DType::kFloat32), "config.json"), config);
}

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

TEST(ConfigJson, AbsentFieldsTakeTransformersDefaults) {
  json value = small_json();
  for (const char* field : {"rope_theta", "rope_parameters", "rms_norm_eps", "max_position_embeddings", "bos_token_id",
                            "eos_token_id", "pad_token_id", "initializer_range", "num_key_value_heads", "head_dim"}) {
    value.erase(field);
  }
  const ModelConfig config = parse(value);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(config.pad_token_id, -1);
  EXPECT_EQ(config.initializer_range, 0.02);
  EXPECT_EQ(config.num_key_value_heads, 6);
  EXPECT_EQ(config.head_dim, 4);
}

TEST(ConfigJson, RefusesEveryFieldThatChangesTheMaths) {
  struct Case {
    const char* field;
    const char* value;
    const char* part;  // what the message must hold beside the field
  };
  const Case cases[] = {
      {"model_type", "\"qwen3\"", "llama"},
      {"model_type", "null", "llama"},
      {"attention_bias", "true", "true"},
      {"mlp_bias", "true", "true"},
      {"tie_word_embeddings", "true", "true"},
      {"hidden_act", "\"gelu\"", "silu"},
      {"pretraining_tp", "2", "is 2"},
      {"attention_dropout", "0.1", "is 0.1"},
      {"partial_rotary_factor", "0.5", "is 0.5"},
      {"sliding_window", "4096", "is 4096"},
      {"use_sliding_window", "true", "true"},
      {"quantization_config", R"({"bits": 4})", "bits"},
      {"auto_map", R"({"AutoModel": "code.Model"})", "code.Model"},
      {"pruned_heads", R"({"0": [1]})", "pruned_heads"},
      {"rope_interleaved", "true", "true"},
      {"is_encoder_decoder", "true", "true"},
      {"add_cross_attention", "true", "true"},
      {"chunk_size_feed_forward", "8", "is 8"},
      {"rope_scaling", R"({"type": "linear", "factor": 2.0})", "linear"},
      {"rope_scaling", R"({"rope_type": "llama3", "factor": 8.0})", "llama3"},
      {"rope_scaling", R"({"factor": 8.0})", "factor"},
      {"rope_scaling", "8", "object"},
      {"rope_parameters", R"({"rope_type": "yarn", "rope_theta": 12345.5})", "yarn"},
      {"rope_parameters", R"({"rope_theta": 12345.5, "partial_rotary_factor": 0.25})", "partial_rotary_factor"},
      {"rope_parameters", R"({"rope_theta": 1.0})", "agree"},
      {"residual_multiplier", "0.5", "does not know"},
      {"brand_new_switch", "true", "does not know"},
  };
  for (const Case& test : cases) {
    json value = small_json();
    value[test.field] = json::parse(test.value);
    const std::string named = std::string(test.part) == "agree" ? "rope_theta" : test.field;
    expect_error(ExitCode::kBadInput, {"config.json", named, test.part}, [&] { parse(value); });
  }
}

TEST(ConfigJson, AcceptsTheHarmlessValuesOfTheSameFields) {
  json value = small_json();
  value["attention_dropout"] = 0;
  value["partial_rotary_factor"] = 1.0;
  value["sliding_window"] = nullptr;
  value["rope_scaling"] = {{"rope_type", "default"}};
  value["quantization_config"] = nullptr;
  value["id2label"] = {{"0", "x"}};
  EXPECT_EQ(parse(value), small_config());
}

TEST(ConfigJson, RefusesMissingAndMistypedFields) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    json value = small_json();
    value.erase(field);
    expect_error(ExitCode::kBadInput, {"config.json", field, "missing"}, [&] { parse(value); });
    value[field] = 24.0;
    expect_error(ExitCode::kBadInput, {"config.json", field, "integer"}, [&] { parse(value); });
    value[field] = "24";
    expect_error(ExitCode::kBadInput, {"config.json", field, "integer"}, [&] { parse(value); });
    value[field] = uint64_t{1} << 63;
    expect_error(ExitCode::kBadInput, {"config.json", field, "integer"}, [&] { parse(value); });
    value[field] = 0;
    expect_error(ExitCode::kBadInput, {"config.json", field, "is 0"}, [&] { parse(value); });
  }
  json value = small_json();
  value["rms_norm_eps"] = "small";
  expect_error(ExitCode::kBadInput, {"rms_norm_eps", "number"}, [&] { parse(value); });
  value = small_json();
  value["eos_token_id"] = {1, "x"};
  expect_error(ExitCode::kBadInput, {"eos_token_id", "list of integers"}, [&] { parse(value); });
}

TEST(ConfigJson, RefusesBrokenJson) {
  const auto refuse = [](const std::string& text, const std::string& part) {
    expect_error(ExitCode::kBadInput, {"my/config.json", part}, [&] { parse_config_json(text, "my/config.json"); });
  };
  refuse("", "JSON");
  refuse("[]", "object");
  refuse("{\"a\": 1,\n \"b\": }", "line 2");
  refuse(R"({"hidden_size": 1, "hidden_size": 2})", "twice");
  refuse(R"({"x": {"a": 1, "a": 2}})", "twice");
  refuse(std::string(100'000, '['), "deeper");
  refuse("{\"a\": \"\xff\"}", "JSON");
}

TEST(ConfigJson, GenerationConfigNamesTheSpecialTokens) {
  const json value = json::parse(generation_config_json_text(small_config()));
  EXPECT_EQ(value["bos_token_id"], 256);
  EXPECT_EQ(value["eos_token_id"], 257);
  EXPECT_EQ(value["pad_token_id"], 258);
}

}  // namespace
}  // namespace penstock
