#include "model/model_config.h"

#include <gtest/gtest.h>

#include <limits>

#include "config_cases.h"
#include "expect_error.h"

namespace penstock {
namespace {

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
      {[](ModelConfig& c) { c.model_type = "qwen4"; }, {"model_type", "qwen4", "llama"}},
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

}  // namespace
}  // namespace penstock
