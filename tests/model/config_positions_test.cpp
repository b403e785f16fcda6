// Rotary positions of config.json in both dialects.
#include <gtest/gtest.h>

#include <cmath>

#include "config_cases.h"
#include "expect_error.h"

namespace penstock {
namespace {

using nlohmann::json;

// The same scaling in every place where a dialect puts it.
std::vector<json> dialects(const json& scaling, double theta) {
  json flat = shape_json("llama"), old_name = flat, version5 = flat, both = flat;
  flat.update({{"rope_scaling", scaling}, {"rope_theta", theta}});
  json renamed = scaling;
  renamed["type"] = renamed["rope_type"];
  renamed.erase("rope_type");
  old_name.update({{"rope_scaling", renamed}, {"rope_theta", theta}});
  json parameters = scaling;
  parameters["rope_theta"] = theta;
  version5["rope_parameters"] = parameters;
  both.update({{"rope_parameters", parameters}, {"rope_scaling", scaling}, {"rope_theta", theta}});
  return {flat, old_name, version5, both};
}

void expect_scaling(const json& scaling, const RopeScaling& expected) {
  for (const json& value : dialects(scaling, 777.5)) {
    const ModelConfig config = parse_json(value);
    EXPECT_EQ(config.rope_theta, 777.5) << value.dump();
    EXPECT_EQ(config.rope_scaling, expected) << value.dump();
  }
}

TEST(ConfigPositions, EveryTypeInEveryDialect) {
  expect_scaling({{"rope_type", "default"}}, {});
  expect_scaling({{"rope_type", "linear"}, {"factor", 2.5}}, {.type = RopeType::kLinear, .factor = 2.5});
  expect_scaling({{"rope_type", "dynamic"}, {"factor", 4}}, {.type = RopeType::kDynamic, .factor = 4});
  expect_scaling({{"rope_type", "llama3"},
                  {"factor", 8.0},
                  {"low_freq_factor", 1.0},
                  {"high_freq_factor", 4.0},
                  {"original_max_position_embeddings", 64}},
                 {.type = RopeType::kLlama3,
                  .factor = 8,
                  .original_max_position_embeddings = 64,
                  .low_freq_factor = 1,
                  .high_freq_factor = 4});
  // Absent: as long as the model's positions.
  expect_scaling({{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}},
                 {.type = RopeType::kLlama3,
                  .factor = 8,
                  .original_max_position_embeddings = 2048,
                  .low_freq_factor = 1,
                  .high_freq_factor = 4});
}

TEST(ConfigPositions, YarnResolvesItsAttentionFactor) {
  const auto with = [](const json& more) {
    json scaling = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 512}};
    scaling.update(more);
    return scaling;
  };
  RopeScaling expected{.type = RopeType::kYarn, .factor = 4, .original_max_position_embeddings = 512};
  expected.attention_factor = 0.1 * std::log(4.0) + 1;
  expect_scaling(with(json::object()), expected);
  expect_scaling(with({{"attention_factor", nullptr}, {"mscale", 0.7}, {"mscale_all_dim", 0}}), expected);
  expect_scaling(with({{"beta_fast", 0}, {"beta_slow", nullptr}}), expected);
  expected.attention_factor = (0.1 * 0.7 * std::log(4.0) + 1) / (0.1 * 1.5 * std::log(4.0) + 1);
  expect_scaling(with({{"mscale", 0.7}, {"mscale_all_dim", 1.5}}), expected);
  expected.attention_factor = 1.25;
  expected.beta_fast = 16;
  expected.beta_slow = 2;
  expected.truncate = false;
  expect_scaling(with({{"attention_factor", 1.25},
                       {"mscale", 3},
                       {"mscale_all_dim", 2},
                       {"beta_fast", 16},
                       {"beta_slow", 2.0},
                       {"truncate", false}}),
                 expected);
  // A factor of null is the ratio of the lengths; at most 1 it leaves cos and sin alone.
  RopeScaling implied{.type = RopeType::kYarn, .factor = 4, .original_max_position_embeddings = 512};
  implied.attention_factor = 0.1 * std::log(4.0) + 1;
  expect_scaling(with({{"factor", nullptr}}), implied);
  RopeScaling unstretched{.type = RopeType::kYarn, .factor = 0.5, .original_max_position_embeddings = 2048};
  expect_scaling({{"rope_type", "yarn"}, {"factor", 0.5}}, unstretched);
}

TEST(ConfigPositions, EmptyAndNullObjectsSayNothing) {
  for (const json& object : {json(nullptr), json::object()}) {
    json value = shape_json("smollm3");
    value["rope_scaling"] = object;
    EXPECT_EQ(parse_json(value).rope_theta, 2e6);
    value["rope_parameters"] = {{"rope_theta", 3.5}, {"rope_type", "linear"}, {"factor", 2.0}};
    EXPECT_EQ(parse_json(value).rope_theta, 3.5);
    EXPECT_EQ(parse_json(value).rope_scaling.type, RopeType::kLinear);
  }
}

TEST(ConfigPositions, RefusesByName) {
  struct Case {
    json change;
    std::vector<std::string> parts;
  };
  const auto scaling = [](const char* text) { return json{{"rope_scaling", json::parse(text)}}; };
  const auto parameters = [](const char* text) { return json{{"rope_parameters", json::parse(text)}}; };
  const Case cases[] = {
      {scaling("8"), {"rope_scaling is 8", "object"}},
      {scaling(R"({"type": "longrope", "short_factor": [1], "long_factor": [2]})"), {"rope_scaling: type", "longrope"}},
      {parameters(R"({"rope_type": "proportional"})"), {"rope_parameters: rope_type", "proportional"}},
      {scaling(R"({"type": "mrope", "mrope_section": [1, 2]})"), {"rope_scaling: type", "mrope"}},
      {scaling(R"({"rope_type": "default", "mrope_section": [1, 2]})"), {"mrope_section"}},
      {scaling(R"({"rope_type": 7})"), {"rope_type is 7"}},
      {scaling(R"({"rope_type": "linear", "type": "dynamic", "factor": 2})"), {"type", "agree"}},
      {scaling(R"({"factor": 8.0})"), {"factor is 8.0", "default"}},
      {scaling(R"({"type": "linear"})"), {"factor is missing"}},
      {scaling(R"({"type": "linear", "factor": null})"), {"factor is null"}},
      {scaling(R"({"type": "linear", "factor": "2"})"), {"factor", "number"}},
      {scaling(R"({"type": "linear", "factor": 0})"), {"rope_scaling.factor is 0"}},
      {scaling(R"({"type": "linear", "factor": -1})"), {"rope_scaling.factor is -1"}},
      {scaling(R"({"type": "linear", "factor": 2, "beta_fast": 3})"), {"beta_fast", "linear"}},
      {scaling(R"({"type": "dynamic", "factor": 2, "alpha": 3})"), {"alpha"}},
      {scaling(R"({"type": "yarn"})"), {"factor is missing"}},
      {scaling(R"({"type": "yarn", "factor": 2, "truncate": null})"), {"truncate is null"}},
      {scaling(R"({"type": "yarn", "factor": 2, "finetuned": true})"), {"finetuned"}},
      {scaling(R"({"type": "yarn", "factor": 2, "original_max_position_embeddings": 1.5})"),
       {"original_max_position_embeddings", "integer"}},
      {scaling(R"({"type": "yarn", "factor": 2, "original_max_position_embeddings": 0})"),
       {"original_max_position_embeddings is 0"}},
      {scaling(R"({"type": "yarn", "factor": 2, "original_max_position_embeddings": -9223372036854775808})"),
       {"original_max_position_embeddings"}},
      {scaling(R"({"type": "yarn", "factor": 2, "attention_factor": -1.0})"), {"attention_factor is -1"}},
      {scaling(R"({"type": "llama3", "factor": 2, "low_freq_factor": 1})"), {"high_freq_factor is missing"}},
      {scaling(R"({"type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4})"),
       {"high_freq_factor", "above low_freq_factor"}},
      {parameters(R"({"rope_theta": 5.0, "partial_rotary_factor": 0.25})"), {"partial_rotary_factor is 0.25"}},
      {parameters(R"({"full_attention": {"rope_theta": 5.0}})"), {"full_attention"}},
      {parameters(R"({"rope_theta": null})"), {"rope_theta is null"}},
      {{{"rope_theta", nullptr}}, {"rope_theta is null"}},
      {{{"rope_theta", "1e6"}}, {"rope_theta", "number"}},
      {{{"rope_theta", 0}}, {"rope_theta is 0"}},
      {{{"rope_theta", 2.0}, {"rope_parameters", {{"rope_theta", 3.0}}}}, {"rope_theta", "agree"}},
      // transformers would take the default theta here, which is surely not meant
      {{{"rope_scaling", {{"type", "default"}}}, {"rope_parameters", {{"rope_theta", 3.0}}}},
       {"rope_scaling", "agree"}},
      {{{"original_max_position_embeddings", 512}}, {"original_max_position_embeddings"}},
      {{{"rope_theta", 1.0}, {"rope_scaling", {{"type", "yarn"}, {"factor", 2}}}}, {"rope_theta is 1"}},
      {{{"head_dim", 2}, {"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}}, {"head_dim is 2"}},
  };
  for (const Case& test : cases) {
    json value = shape_json("llama");
    value.update(test.change);
    SCOPED_TRACE(test.change.dump());
    expect_error(ExitCode::kBadInput, test.parts, [&] { parse_json(value); });
  }
}

}  // namespace
}  // namespace penstock
