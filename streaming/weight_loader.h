// The weights of a Hugging Face folder, straight into a model's memory: in file order, several reads in flight, through
// no buffer where the file's element type is the wire's and through a small one per reader where it is not.
// The result does not depend on the number of readers, nor does the error.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "streaming/model_memory.h"

namespace penstock {

// Bytes of the files read so far and in all; called on the loading thread, now and then, and once at the end.
using LoadProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

struct LoadOptions {
  // More than most machines have cores on purpose: a disk wants several reads in flight.
  int readers = 8;
  LoadProgress progress = {};
};

// The folder's config.json gave the memory its shape; moments become zero. Throws Error(kBadInput) for weights that do
// not fit or are not finite, on the wire included.
void load_weights(ModelMemory& memory, const std::string& folder, const LoadOptions& options = {});

}  // namespace penstock
