#include "model/model_config.h"

#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/error.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/config_family.h"

namespace penstock {
namespace {

// Tokens and positions are 32-bit in every batch.
constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
// Deep enough for any published model; a config.json that claims more is damaged or hostile.
constexpr int64_t kMaxBlocks = 10'000;
// An extent of a weight. Two of them multiply to 2^62, so products of two stay inside 63 bits.
constexpr int64_t kMaxExtent = int64_t{1} << 31;
// 16 bytes a parameter (float32 state) must stay countable in 63 bits, with room for a sum over layers.
constexpr int64_t kMaxParameters = int64_t{1} << 56;

[[noreturn]] void refuse(const char* field, const std::string& value, const std::string& remedy) {
  throw Error(ExitCode::kBadInput, fmt::format("model: {} is {}; {}", field, value, remedy));
}

void require_extent(const char* field, int64_t value, int64_t limit) {
  if (value < 1 || value > limit) {
    refuse(field, std::to_string(value), fmt::format("give a value from 1 to {}", limit));
  }
}

void require_token_id(const char* field, int64_t id, int64_t vocab_size) {
  if (id < -1 || id >= vocab_size) {
    refuse(field, std::to_string(id), fmt::format("give an id below vocab_size {}, or leave it out", vocab_size));
  }
}

void validate_extents(const ModelConfig& config) {
  require_extent("vocab_size", config.vocab_size, kMaxTokens);
  require_extent("hidden_size", config.hidden_size, kMaxExtent);
  require_extent("intermediate_size", config.intermediate_size, kMaxExtent);
  require_extent("num_hidden_layers", config.num_hidden_layers, kMaxBlocks);
  require_extent("num_attention_heads", config.num_attention_heads, kMaxExtent);
  require_extent("num_key_value_heads", config.num_key_value_heads, kMaxExtent);
  require_extent("head_dim", config.head_dim, kMaxExtent);
  require_extent("max_position_embeddings", config.max_position_embeddings, kMaxTokens);
}

void validate_heads(const ModelConfig& config) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    refuse("num_key_value_heads", std::to_string(config.num_key_value_heads),
           fmt::format("num_attention_heads {} must be a multiple of it", config.num_attention_heads));
  }
  // transformers refuses such a llama even where head_dim is given, so nobody could open the trained model.
  if (config.model_type == "llama" && config.hidden_size % config.num_attention_heads != 0) {
    refuse("hidden_size", std::to_string(config.hidden_size),
           fmt::format("it must be a multiple of num_attention_heads {}", config.num_attention_heads));
  }
  if (config.head_dim % 2 != 0) {
    refuse("head_dim", std::to_string(config.head_dim), "rotary positions need an even number");
  }
  if (config.num_attention_heads * config.head_dim > kMaxExtent) {
    refuse("head_dim", std::to_string(config.head_dim),
           fmt::format("num_attention_heads {} times it must not exceed {}", config.num_attention_heads, kMaxExtent));
  }
}

// Lists with one entry a block.
void validate_blocks(const ModelConfig& config) {
  const auto require_length = [&](const char* field, size_t length) {
    if (length == 0 || length == static_cast<size_t>(config.num_hidden_layers)) return;
    refuse(field, fmt::format("a list of {}", length),
           fmt::format("give one entry for each of {} blocks", config.num_hidden_layers));
  };
  require_length("layer_types", config.windows.size());
  require_length("no_rope_layers", config.rotary_blocks.size());
  for (int64_t window : config.windows) {
    if (window != 0) require_extent("sliding_window", window, kMaxTokens);
  }
}

void validate_rope_scaling(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto require_positive = [](const char* field, double value) {
    if (!std::isfinite(value) || value <= 0) refuse(field, fmt::format("{}", value), "give a finite value above 0");
  };
  if (scaling.type == RopeType::kDefault) return;
  require_positive("rope_scaling.factor", scaling.factor);
  // transformers divides by head_dim - 2 here, and by the logarithm of rope_theta below.
  if (scaling.type == RopeType::kDynamic && config.head_dim == 2) refuse("head_dim", "2", "dynamic positions need 4");
  if (scaling.type == RopeType::kLinear || scaling.type == RopeType::kDynamic) return;
  require_extent("rope_scaling.original_max_position_embeddings", scaling.original_max_position_embeddings, kMaxTokens);
  if (scaling.type == RopeType::kLlama3) {
    require_positive("rope_scaling.low_freq_factor", scaling.low_freq_factor);
    require_positive("rope_scaling.high_freq_factor", scaling.high_freq_factor);
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      refuse("rope_scaling.high_freq_factor", fmt::format("{}", scaling.high_freq_factor),
             fmt::format("it must be above low_freq_factor {}", scaling.low_freq_factor));
    }
    return;
  }
  if (config.rope_theta == 1) refuse("rope_theta", "1", "yarn positions need another value");
  require_positive("rope_scaling.beta_fast", scaling.beta_fast);
  require_positive("rope_scaling.beta_slow", scaling.beta_slow);
  require_positive("rope_scaling.attention_factor", scaling.attention_factor);
}

void validate_numbers(const ModelConfig& config) {
  const auto require_positive = [](const char* field, double value) {
    if (!std::isfinite(value) || value <= 0) refuse(field, fmt::format("{}", value), "give a finite value above 0");
  };
  require_positive("rms_norm_eps", config.rms_norm_eps);
  require_positive("rope_theta", config.rope_theta);
  if (!std::isfinite(config.initializer_range) || config.initializer_range < 0) {
    refuse("initializer_range", fmt::format("{}", config.initializer_range), "give a finite value of at least 0");
  }
}

void validate_token_ids(const ModelConfig& config) {
  require_token_id("bos_token_id", config.bos_token_id, config.vocab_size);
  require_token_id("pad_token_id", config.pad_token_id, config.vocab_size);
  for (int64_t id : config.eos_token_ids) {
    if (id == -1) refuse("eos_token_id", "-1", "leave it out where the model has none");
    require_token_id("eos_token_id", id, config.vocab_size);
  }
}

__int128 parameters(const ModelConfig& config) {
  const __int128 width = config.hidden_size, inner = config.intermediate_size;
  const __int128 query_width = static_cast<__int128>(config.num_attention_heads) * config.head_dim;
  const __int128 key_value_width = static_cast<__int128>(config.num_key_value_heads) * config.head_dim;
  __int128 block = 2 * width * query_width + 2 * width * key_value_width;  // q, o and k, v
  block += 3 * width * inner + 2 * width;                                  // gate, up, down and two norms
  if (config.qkv_bias) block += query_width + 2 * key_value_width;
  if (config.output_bias) block += width;
  if (config.mlp_bias) block += 2 * inner + width;
  if (config.qk_norm) block += 2 * static_cast<__int128>(config.head_dim);
  const __int128 vocabularies = config.tie_word_embeddings ? 1 : 2;  // embedding, and lm_head of its own
  return config.num_hidden_layers * block + vocabularies * width * config.vocab_size + width;  // and the final norm
}

}  // namespace

void validate(const ModelConfig& config) {
  if (find_config_family(config.model_type) == nullptr) {
    refuse("model_type", '"' + config.model_type + '"',
           fmt::format("the supported types are {}", fmt::join(supported_model_types(), ", ")));
  }
  validate_extents(config);
  validate_heads(config);
  validate_blocks(config);
  validate_rope_scaling(config);
  validate_numbers(config);
  validate_token_ids(config);
  if (parameters(config) > kMaxParameters) {
    refuse("hidden_size", std::to_string(config.hidden_size),
           fmt::format("the model would have more than {} parameters; make it smaller", kMaxParameters));
  }
}

int64_t parameter_count(const ModelConfig& config) {
  const __int128 count = parameters(config);
  CHECK(count > 0 && count <= kMaxParameters);  // validate() comes first
  return static_cast<int64_t>(count);
}

}  // namespace penstock
