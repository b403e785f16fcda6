// Shapes for new models of about a wanted size.
#pragma once

#include <optional>
#include <string>

#include "model/model_config.h"

namespace penstock {

struct ModelSize {
  std::string model_type = "llama";
  double parameters = 0;
};

// "125M", "1.5B", "900k", with a family before a colon if wanted. Null where the text is nothing of the kind.
std::optional<ModelSize> parse_model_size(const std::string& text);

// The shape nearest to the size: heads of 64, four query heads to a key head, an MLP of 8/3, about a hundred times as
// wide as deep. Throws Error(kBadInput) for a size without such a shape.
ModelConfig shape_of_size(const ModelSize& size, int64_t vocab_size);

}  // namespace penstock
