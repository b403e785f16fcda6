#include "model/weight_files.h"

#include <vector>

#include "core/check.h"
#include "core/file.h"
#include "fmt/format.h"
#include "model/weight_index.h"

namespace penstock {
namespace {

// First tensor of every shard, and the end.
std::vector<size_t> shard_borders(std::span<const SafetensorsSpec> tensors, uint64_t max_shard_bytes) {
  std::vector<size_t> borders = {0};
  uint64_t shard_bytes = 0;
  for (size_t index = 0; index < tensors.size(); ++index) {
    const uint64_t bytes = safetensors_bytes(tensors[index]);
    const bool is_full = bytes > max_shard_bytes || shard_bytes > max_shard_bytes - bytes;
    if (is_full && index > borders.back()) {
      borders.push_back(index);
      shard_bytes = 0;
    }
    shard_bytes += bytes;
  }
  borders.push_back(tensors.size());
  return borders;
}

}  // namespace

void write_weight_files(const std::string& folder, std::span<const SafetensorsSpec> tensors, uint64_t max_shard_bytes,
                        const TensorBytesSource& source) {
  CHECK(!tensors.empty());
  const std::vector<size_t> borders = shard_borders(tensors, max_shard_bytes);
  const size_t shard_count = borders.size() - 1;
  WeightMap files;
  uint64_t total_bytes = 0;
  for (size_t shard = 0; shard < shard_count; ++shard) {
    const size_t first = borders[shard];
    const std::span<const SafetensorsSpec> part = tensors.subspan(first, borders[shard + 1] - first);
    const std::string name =
        shard_count == 1 ? kWeightsName : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shard_count);
    write_safetensors(folder + "/" + name, part, [&](size_t index, uint64_t first_element, std::span<std::byte> out) {
      source(first + index, first_element, out);
    });
    for (const SafetensorsSpec& tensor : part) {
      files.emplace(tensor.name, name);
      total_bytes += safetensors_bytes(tensor);
    }
  }
  if (shard_count == 1) return;
  write_text_file(folder + "/" + kWeightIndexName, weight_index_text(files, total_bytes));
}

}  // namespace penstock
