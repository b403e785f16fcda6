#include "app/model_size.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "model/config_family.h"

namespace penstock {
namespace {

constexpr int64_t kHeadDim = 64;
constexpr int64_t kQueryHeadsPerKeyHead = 4;
constexpr int64_t kMostHidden = 16384;
constexpr int64_t kMostBlocks = 160;

double unit_of(char letter) {
  switch (letter) {
    case 'k':
    case 'K':
      return 1e3;
    case 'm':
    case 'M':
      return 1e6;
    case 'b':
    case 'B':
      return 1e9;
    default:
      return 0;
  }
}

ModelConfig shape(const std::string& model_type, int64_t hidden, int64_t blocks, int64_t vocab_size) {
  ModelConfig model;
  model.model_type = model_type;
  model.vocab_size = vocab_size;
  model.hidden_size = hidden;
  model.intermediate_size = (hidden * 8 / 3 + kHeadDim - 1) / kHeadDim * kHeadDim;
  model.num_hidden_layers = blocks;
  model.num_attention_heads = hidden / kHeadDim;
  const bool groups = model.num_attention_heads % kQueryHeadsPerKeyHead == 0;
  model.num_key_value_heads = groups ? model.num_attention_heads / kQueryHeadsPerKeyHead : model.num_attention_heads;
  model.head_dim = kHeadDim;
  return model;
}

// Distance in size, with a say for the usual proportions: a model is about a hundred times as wide as deep.
double distance(const ModelConfig& model, double parameters) {
  const double size = std::abs(std::log(static_cast<double>(parameter_count(model)) / parameters));
  const double aspect = static_cast<double>(model.hidden_size) / static_cast<double>(model.num_hidden_layers);
  return size + 0.05 * std::abs(std::log(aspect / 100));
}

}  // namespace

std::optional<ModelSize> parse_model_size(const std::string& text) {
  ModelSize size;
  std::string number = text;
  if (const size_t colon = text.find(':'); colon != std::string::npos) {
    size.model_type = text.substr(0, colon);
    number = text.substr(colon + 1);
  }
  if (number.size() < 2 || find_config_family(size.model_type) == nullptr) return std::nullopt;
  const double unit = unit_of(number.back());
  const char* end = number.data() + number.size() - 1;
  double value = 0;
  const auto [rest, code] = std::from_chars(number.data(), end, value);
  if (unit == 0 || code != std::errc() || rest != end || !std::isfinite(value) || value <= 0) return std::nullopt;
  size.parameters = value * unit;
  return size;
}

ModelConfig shape_of_size(const ModelSize& size, int64_t vocab_size) {
  ModelConfig best;
  double nearest = std::numeric_limits<double>::infinity();
  for (int64_t hidden = kHeadDim; hidden <= kMostHidden; hidden += kHeadDim) {
    for (int64_t blocks = 1; blocks <= kMostBlocks; ++blocks) {
      const ModelConfig candidate = shape(size.model_type, hidden, blocks, vocab_size);
      const double away = distance(candidate, size.parameters);
      if (away >= nearest) continue;
      nearest = away;
      best = candidate;
    }
  }
  const double ratio = static_cast<double>(parameter_count(best)) / size.parameters;
  if (ratio > 0.7 && ratio < 1.4) return best;
  throw Error(ExitCode::kBadInput, fmt::format("init: no shape has about {:.3g} parameters with a vocabulary of {}; "
                                               "give a size between 100k and 400B",
                                               size.parameters, vocab_size));
}

}  // namespace penstock
