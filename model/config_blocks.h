// Per-block lists of config.json: sliding windows and blocks without rotary positions.
#pragma once

#include "model/config_family.h"
#include "model/config_fields.h"
#include "model/model_config.h"

namespace penstock {

// Fills rotary_blocks and windows; both stay empty where every block is plain. config.num_hidden_layers is valid.
void read_block_lists(const ConfigFields& fields, const ConfigFamily& family, ModelConfig& config);

}  // namespace penstock
