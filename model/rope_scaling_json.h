// Rotary positions in config.json: rope_theta and rope_scaling (version 4), rope_parameters (version 5).
// Read as transformers 5.23 reads them; a field that the named type does not use is refused, not ignored.
#pragma once

#include "model/config_fields.h"
#include "model/model_config.h"
#include "nlohmann/json.hpp"

namespace penstock {

struct RotaryPositions {
  double theta = 0;
  RopeScaling scaling;

  bool operator==(const RotaryPositions&) const = default;
};

// `default_theta` is the family's. Both dialects may stand side by side where they agree.
RotaryPositions read_rotary_positions(const ConfigFields& fields, double default_theta,
                                      int64_t max_position_embeddings);

// {"rope_type": ...} and what the type needs; without rope_theta.
nlohmann::json rope_scaling_json(const RopeScaling& scaling);

}  // namespace penstock
