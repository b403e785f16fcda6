// Rotary position embedding in Hugging Face's rotate_half convention: element i of a head turns with element i + D/2 by
// the angle position * inverse frequency. Angles and arithmetic in fp32.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "model/rope_frequencies.h"

namespace penstock {

// cos and sin of one token after the other: [tokens, D/2] each.
struct RopeAngles {
  float* cosines;
  float* sines;
};
void rope_angles(int64_t tokens, const int32_t* positions, const RopeFrequencies& frequencies,
                 const RopeAngles& angles);

// Rotates the first `heads` heads of every row in place; rows are `row_elements` apart. The gradient of a rotation is
// the rotation back, under the same scale: `backward` turns the other way.
struct RopeRows {
  int64_t rows, row_elements, heads, head_dim;
  void* values;
  RopeAngles angles;
  bool backward;
};
void rope(DType dtype, const RopeRows& rope);

}  // namespace penstock
