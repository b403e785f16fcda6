#include "model/weight_init.h"

#include <algorithm>
#include <string_view>

#include "core/check.h"
#include "core/random.h"

namespace penstock {
namespace {

// Keeps these streams apart from other uses of the run's seed (shuffles, samplers).
constexpr uint64_t kInitStreams = uint64_t{0x1417} << 40;

// Zeroes the part of the padding token's embedding row that `out` holds, as torch.nn.Embedding does.
void clear_padding_row(const ModelConfig& config, uint64_t first_element, std::span<float> out) {
  const uint64_t width = static_cast<uint64_t>(config.hidden_size);
  const uint64_t row = static_cast<uint64_t>(config.pad_token_id) * width;
  const uint64_t begin = std::max(row, first_element);
  const uint64_t end = std::min(row + width, first_element + out.size());
  for (uint64_t element = begin; element < end; ++element) out[element - first_element] = 0.0f;
}

}  // namespace

void init_tensor(const TensorPlace& place, const ModelConfig& config, uint64_t seed, uint64_t tensor_index,
                 uint64_t first_element, std::span<float> out) {
  CHECK_LE(first_element, place.element_count);
  CHECK_LE(out.size(), place.element_count - first_element);
  const std::string_view name = place.spec.name;
  if (name.ends_with("norm.weight")) {
    std::fill(out.begin(), out.end(), 1.0f);
    return;
  }
  if (name.ends_with(".bias")) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  const CounterRandom random(seed, kInitStreams + tensor_index);
  const float deviation = static_cast<float>(config.initializer_range);
  for (size_t i = 0; i < out.size(); ++i) out[i] = deviation * random.normal(first_element + i);
  if (name == "model.embed_tokens.weight" && config.pad_token_id >= 0) clear_padding_row(config, first_element, out);
}

}  // namespace penstock
