// config.json as nobody should write it: one line, bad input, the field named; never a crash, never a long wait.
#include <gtest/gtest.h>

#include <random>

#include "config_cases.h"
#include "expect_error.h"

namespace penstock {
namespace {

using nlohmann::json;

void expect_refused(const json& value, const std::string& field) {
  SCOPED_TRACE(value.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 400));
  expect_error(ExitCode::kBadInput, {"config.json", field}, [&] { parse_json(value); });
}

// Every numeric field of every family times every value that no model has: several hundred cases.
TEST(ConfigHostile, NumbersOutOfRangeOrOfTheWrongType) {
  const char* extents[] = {
      "vocab_size",          "hidden_size",         "intermediate_size", "num_hidden_layers",
      "num_attention_heads", "num_key_value_heads", "head_dim",          "max_position_embeddings"};
  const json no_extents[] = {0,   -1,  INT64_MIN, INT64_MAX,        uint64_t{1} << 63, UINT64_MAX,   1e300,
                             2.0, "2", true,      json::array({2}), json::object(),    INT64_MAX - 1};
  const json no_numbers[] = {0, -1, "1e-5", true, json::array({1.0}), {{"__float__", "NaN"}}};
  int cases = 0;
  for (const char* type : kFamilyNames) {
    for (const char* field : extents) {
      for (const json& bad : no_extents) {
        json value = shape_json(type);
        value[field] = bad;
        expect_refused(value, field);
        ++cases;
      }
    }
    for (const char* field : {"rms_norm_eps", "rope_theta"}) {
      for (const json& bad : no_numbers) {
        json value = shape_json(type);
        value[field] = bad;
        expect_refused(value, field);
        ++cases;
      }
    }
  }
  EXPECT_GT(cases, 500);
}

struct FieldCase {
  const char* type;
  const char* field;
  const char* value;
};

constexpr FieldCase kFieldCases[] = {
    {"llama", "model_type", "7"},
    {"llama", "model_type", "null"},
    {"llama", "model_type", "[\"llama\"]"},
    {"llama", "model_type", "\"\""},
    {"llama", "model_type", "\"llama\\n\""},
    {"llama", "hidden_act", "null"},
    {"llama", "hidden_act", "\"gelu\""},
    {"llama", "hidden_act", "[\"silu\"]"},
    {"llama", "attention_bias", "1"},
    {"llama", "attention_bias", "null"},
    {"llama", "mlp_bias", "\"true\""},
    {"llama", "tie_word_embeddings", "0"},
    {"llama", "tie_word_embeddings", "null"},
    {"llama", "initializer_range", "-0.5"},
    {"llama", "initializer_range", "\"0.02\""},
    {"llama", "bos_token_id", "263"},
    {"llama", "bos_token_id", "1.5"},
    {"llama", "pad_token_id", "-1"},  // the last row to transformers
    {"llama", "pad_token_id", "-2"},
    {"llama", "pad_token_id", "[1]"},
    {"llama", "eos_token_id", "[1, \"x\"]"},
    {"llama", "eos_token_id", "[1, 263]"},
    {"llama", "eos_token_id", "[[1]]"},
    {"llama", "eos_token_id", "-1"},
    {"llama", "eos_token_id", "{}"},
    {"llama", "layer_types", "[\"full_attention\"]"},
    {"llama", "layer_types", "\"full_attention\""},
    {"llama", "layer_types", R"(["full_attention", "full_attention", "full_attention", "sliding_attention"])"},
    {"llama", "sliding_window", "4096"},
    {"llama", "use_sliding_window", "true"},
    {"llama", "no_rope_layers", "[1, 1, 1, 1]"},
    {"llama", "quantization_config", R"({"bits": 4})"},
    {"llama", "auto_map", R"({"AutoModel": "code.Model"})"},
    {"llama", "pruned_heads", R"({"0": [1]})"},
    {"llama", "attention_dropout", "0.1"},
    {"llama", "partial_rotary_factor", "0.5"},
    {"llama", "rope_interleaved", "true"},
    {"llama", "is_encoder_decoder", "true"},
    {"llama", "add_cross_attention", "true"},
    {"llama", "chunk_size_feed_forward", "8"},
    {"llama", "per_layer_config", R"({"0": {"head_dim": 4}})"},
    {"llama", "residual_multiplier", "0.5"},
    {"llama", "logit_scale", "0.5"},
    {"llama", "brand_new_switch", "true"},
    {"mistral", "sliding_window", "0"},
    {"mistral", "sliding_window", "-3"},
    {"mistral", "sliding_window", "2.5"},
    {"mistral", "sliding_window", "9223372036854775807"},
    {"mistral", "layer_types", R"(["full_attention", "full_attention", "full_attention", "full_attention"])"},
    {"qwen2", "use_sliding_window", "1"},
    {"qwen2", "use_sliding_window", "null"},
    {"qwen2", "use_mrope", "true"},
    {"qwen2", "max_window_layers", "null"},
    {"qwen2", "max_window_layers", "1.5"},
    {"qwen2", "layer_types", R"(["full_attention", "full_attention", "full_attention"])"},
    {"qwen2", "layer_types", R"(["full_attention", "full_attention", "full_attention", "chunked_attention"])"},
    {"qwen2", "layer_types", "[1, 1, 1, 1]"},
    {"qwen2", "sliding_window", "\"4\""},
    {"qwen3", "no_rope_layer_interval", "4"},
    {"smollm3", "no_rope_layers", "[]"},
    {"smollm3", "no_rope_layers", "[1, 1, 1]"},
    {"smollm3", "no_rope_layers", "[1, 1, 1, true]"},
    {"smollm3", "no_rope_layers", "4"},
    {"smollm3", "no_rope_layer_interval", "0"},
    {"smollm3", "no_rope_layer_interval", "-9223372036854775808"},
    {"smollm3", "no_rope_layer_interval", "null"},
};

TEST(ConfigHostile, FieldsOfTheWrongType) {
  for (const FieldCase& test : kFieldCases) {
    json value = shape_json(test.type);
    value[test.field] = json::parse(test.value);
    expect_refused(value, test.field);
  }
}

TEST(ConfigHostile, MissingShape) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "model_type"}) {
    json value = shape_json("llama");
    value.erase(field);
    expect_refused(value, field);
  }
}

// One short line of printable ASCII, whatever the file holds.
void expect_printable_refusal(const std::string& text) {
  SCOPED_TRACE(testing::PrintToString(text.substr(0, 60)));
  try {
    parse_config_json(text, "config.json");
    FAIL() << "accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_LT(message.size(), 400u);
    for (char character : message) EXPECT_TRUE(character >= 0x20 && character <= 0x7e) << message;
  }
}

TEST(ConfigHostile, TextThatIsNotPrintable) {
  for (const std::string& name : {std::string(100'000, 'x'), std::string("a\nb"), std::string("\x1b[31m"),
                                  std::string("\xc3\xa9"), std::string()}) {
    json value = shape_json("llama");
    value[name] = 1;
    expect_printable_refusal(value.dump());
    value.erase(name);
    value["model_type"] = name;
    expect_printable_refusal(value.dump());
  }
  json two_types = shape_json("llama");
  two_types["rope_scaling"] = {{"rope_type", std::string(100'000, 'x')}, {"type", "linear"}};
  expect_printable_refusal(two_types.dump());
  expect_printable_refusal("{\"a\": \"\xff\"}");
  expect_printable_refusal("{\"a\": \"\xc3\xa9\x1b[31m\"}");
  expect_printable_refusal("{\"a\": \"" + std::string(1'000'000, 'x'));
}

TEST(ConfigHostile, BrokenJson) {
  const std::string deep_objects = [] {
    std::string text = "{";
    for (int level = 0; level < 100; ++level) text += "\"a\": {";
    return text;
  }();
  const std::pair<std::string, const char*> cases[] = {
      {"", "JSON"},
      {"   ", "JSON"},
      {"[]", "object"},
      {"null", "object"},
      {"\"llama\"", "object"},
      {"{\"a\": 1,\n \"b\": }", "line 2"},
      {R"({"hidden_size": 1, "hidden_size": 2})", "twice"},
      {R"({"hidden_size": 1, "hidden\u005fsize": 2})", "twice"},
      {R"({"x": {"a": 1, "a": 2}})", "twice"},
      {std::string(100, '[') + std::string(100, ']'), "deeper"},
      {std::string(100'000, '['), "deeper"},
      {R"({"rope_scaling": )" + deep_objects, "deeper"},
      {"{\"a\": \"\xff\"}", "JSON"},
      {"{\"a\": \"\xed\xa0\x80\"}", "JSON"},  // a lone surrogate
      {"\xff\xfe{\0}\0", "JSON"},             // UTF-16
      {std::string("{\"a\": 1}\0{", 10), "NUL"},
      {R"({"rms_norm_eps": NaN})", "JSON"},
      {R"({"rms_norm_eps": -Infinity})", "JSON"},
      {R"({"rms_norm_eps": 1e999})", "JSON"},
      {R"({"vocab_size": 0x10})", "JSON"},
      {R"({"vocab_size": 010})", "JSON"},
      {R"({"vocab_size": 1} {})", "JSON"},
      {R"({'vocab_size': 1})", "JSON"},
      {"{\"vocab_size\": 1,}", "JSON"},
      {"{\"a\": \"" + std::string(1'000'000, 'x'), "JSON"},
      {"{// a comment\n}", "JSON"},
  };
  for (const auto& [text, part] : cases) {
    SCOPED_TRACE(text.substr(0, 60));
    for (const auto read : {+[](const std::string& bad) { parse_config_json(bad, "my/config.json"); },
                            +[](const std::string& bad) { has_text_config(bad, "my/config.json"); }}) {
      expect_error(ExitCode::kBadInput, {"my/config.json", part}, [&, &text = text] { read(text); });
    }
  }
}

// Truncated at every byte, and with every byte replaced: refused or read, and patched without a crash.
TEST(ConfigHostile, DamagedText) {
  const std::string whole = config_json_text(small_config(), DType::kFloat32);
  const auto try_all = [](const std::string& text) {
    try {
      parse_config_json(text, "config.json");
      patch_config_json(text, "config.json", DType::kBFloat16);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << text;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  };
  for (size_t size = 0; size + 2 < whole.size(); ++size) {
    expect_error(ExitCode::kBadInput, {"config.json"},
                 [&] { parse_config_json(whole.substr(0, size), "config.json"); });
  }
  constexpr uint32_t kSeed = 7;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << ", round " << round);
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(random() & 0xff);
      try_all(damaged);
    }
  }
}

}  // namespace
}  // namespace penstock
