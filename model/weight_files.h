// Weights as transformers lays them out in a folder: model.safetensors, or numbered shards and an index.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "model/safetensors_writer.h"

namespace penstock {

// Shards are filled in order; a tensor that would take one beyond `max_shard_bytes` starts the next. One shard is
// "model.safetensors". Throws as write_safetensors does.
void write_weight_files(const std::string& folder, std::span<const SafetensorsSpec> tensors, uint64_t max_shard_bytes,
                        const TensorBytesSource& source);

}  // namespace penstock
