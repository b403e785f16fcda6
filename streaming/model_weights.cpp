#include "streaming/model_weights.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "model/safetensors_writer.h"
#include "model/weight_init.h"
#include "streaming/weight_values.h"

namespace penstock {
namespace {

constexpr uint64_t kChunkElements = uint64_t{1} << 20;

uint64_t chunk_count(const TensorPlace& place) { return (place.element_count + kChunkElements - 1) / kChunkElements; }

}  // namespace

void initialize_weights(ModelMemory& memory, uint64_t seed, WorkerTeam& team) {
  uint64_t tensor_index = 0;
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    const LayerStateView view = memory.layer(layer);
    for (const TensorPlace& place : view.layout->tensors()) {
      team.run(static_cast<int64_t>(chunk_count(place)), [&](int64_t chunk) {
        // Never a whole tensor: an embedding of 1 GiB would need as much again beside the memory that was planned.
        const uint64_t first = static_cast<uint64_t>(chunk) * kChunkElements;
        std::vector<float> values(std::min(kChunkElements, place.element_count - first));
        init_tensor(place, memory.config(), seed, tensor_index, first, values);
        store_values(view, place, first, values);
      });
      ++tensor_index;
    }
  }
}

void export_model(const ModelMemory& memory, const std::string& folder, const ModelFolderSettings& settings) {
  write_model_folder(folder, memory.config(), memory.layouts(), settings,
                     [&](size_t layer, const TensorPlace& place, uint64_t first, std::span<std::byte> out) {
                       read_values(memory.layer(static_cast<int>(layer)), place, settings.dtype, first, out);
                     });
}

void write_gradients(StepEngine& engine, const std::string& path) {
  CHECK(engine.plan().shape.gradient == DType::kFloat32);
  struct Source {
    const TensorPlace* place;
    std::span<const std::byte> gradient;
    std::span<const std::byte> touched_rows;  // embedding only
  };
  std::vector<SafetensorsSpec> specs;
  std::vector<Source> sources;
  const auto& layouts = engine.memory().layouts();
  for (size_t layer = 0; layer < layouts.size(); ++layer) {
    if (!layouts[layer].trains()) continue;
    const auto gradient = engine.host_bytes(BufferKind::kHostGradient, static_cast<int>(layer));
    for (const TensorPlace& place : layouts[layer].tensors()) {
      if (!place.spec.trainable) continue;
      specs.push_back({.name = place.spec.name, .dtype = "F32", .shape = place.spec.shape});
      sources.push_back({&place, gradient, {}});
      if (layer == 0) sources.back().touched_rows = gradient.subspan(touched_rows_offset(engine.plan().shape));
    }
  }
  write_safetensors(path, specs, [&](size_t tensor, uint64_t first, std::span<std::byte> out) {
    const Source& source = sources[tensor];
    std::memcpy(out.data(), source.gradient.data() + (source.place->offset + first) * sizeof(float), out.size());
    if (source.touched_rows.empty()) return;
    const uint64_t columns = static_cast<uint64_t>(source.place->spec.shape.back());
    auto* values = reinterpret_cast<float*>(out.data());
    for (uint64_t i = 0; i < out.size() / sizeof(float); ++i) {
      if (source.touched_rows[(first + i) / columns] == std::byte{0}) values[i] = 0;
    }
  });
}

}  // namespace penstock
