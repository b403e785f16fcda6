#include "streaming/model_weights.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "core/bf16.h"
#include "core/check.h"
#include "model/safetensors_writer.h"
#include "model/weight_init.h"

namespace penstock {
namespace {

constexpr uint64_t kChunkElements = uint64_t{1} << 20;

bool has_state(const LayerStateView& view) { return !view.state.empty(); }

// Weights without state: evaluation and generation keep the wire weights only.
void write_wire(const LayerStateView& view, const TensorPlace& place, uint64_t first, std::span<const float> values) {
  const uint64_t offset = place.offset + first;
  if (view.format == StateFormat::kFloat32) {
    std::memcpy(view.wire.data() + offset * sizeof(float), values.data(), values.size_bytes());
    return;
  }
  auto* wire = reinterpret_cast<bf16_bits*>(view.wire.data()) + offset;
  for (size_t i = 0; i < values.size(); ++i) wire[i] = split_master(values[i]).hi;
}

// Values of a part of a tensor, from `first` on.
using ValueSource = std::function<void(uint64_t first, std::span<float> values)>;

// Chunk `chunk` of a tensor, into wire weights and state. Never a whole tensor: an embedding of 1 GiB would need as
// much again beside the memory that was planned.
void store_chunk(const LayerStateView& view, const TensorPlace& place, uint64_t chunk, const ValueSource& source) {
  const uint64_t first = chunk * kChunkElements;
  std::vector<float> values(std::min(kChunkElements, place.element_count - first));
  source(first, values);
  if (has_state(view))
    write_master(view, place, first, values);
  else
    write_wire(view, place, first, values);
}

uint64_t chunk_count(const TensorPlace& place) { return (place.element_count + kChunkElements - 1) / kChunkElements; }

// The bytes of elements [first, first + count) in `dtype`; `count` is out.size() over the element's size.
void read_elements(const LayerStateView& view, const TensorPlace& place, DType dtype, uint64_t first,
                   std::span<std::byte> out) {
  const uint64_t offset = place.offset + first;
  const uint64_t wire_element = dtype_bytes(wire_dtype(view.format));
  if (dtype == wire_dtype(view.format)) {
    std::memcpy(out.data(), view.wire.data() + offset * wire_element, out.size());
    return;
  }
  if (dtype == DType::kBFloat16) {
    const auto* master = reinterpret_cast<const float*>(view.wire.data()) + offset;
    auto* to = reinterpret_cast<bf16_bits*>(out.data());
    for (size_t i = 0; i < out.size() / sizeof(bf16_bits); ++i) to[i] = bf16_from_float(master[i]);
    return;
  }
  CHECK(dtype == DType::kFloat32 && view.format == StateFormat::kExact);
  const auto* hi = reinterpret_cast<const bf16_bits*>(view.wire.data()) + offset;
  const auto* lo = has_state(view) ? reinterpret_cast<const uint16_t*>(view.state.data()) + offset : nullptr;
  auto* to = reinterpret_cast<float*>(out.data());
  for (size_t i = 0; i < out.size() / sizeof(float); ++i) {
    to[i] = lo != nullptr ? join_master(hi[i], lo[i]) : float_from_bf16(hi[i]);
  }
}

}  // namespace

void initialize_weights(ModelMemory& memory, uint64_t seed, WorkerTeam& team) {
  uint64_t tensor_index = 0;
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    const LayerStateView view = memory.layer(layer);
    for (const TensorPlace& place : view.layout->tensors()) {
      team.run(static_cast<int64_t>(chunk_count(place)), [&](int64_t chunk) {
        store_chunk(view, place, static_cast<uint64_t>(chunk), [&](uint64_t first, std::span<float> values) {
          init_tensor(place, memory.config(), seed, tensor_index, first, values);
        });
      });
      ++tensor_index;
    }
  }
}

void load_weights(ModelMemory& memory, const std::string& folder) {
  const WeightFolder weights(folder, memory.layouts());
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    const LayerStateView view = memory.layer(layer);
    for (const TensorPlace& place : view.layout->tensors()) {
      for (uint64_t chunk = 0; chunk < chunk_count(place); ++chunk) {
        store_chunk(view, place, chunk,
                    [&](uint64_t first, std::span<float> values) { weights.read(place.spec, first, values); });
      }
    }
  }
}

void export_model(const ModelMemory& memory, const std::string& folder, const ModelFolderSettings& settings) {
  write_model_folder(folder, memory.config(), settings,
                     [&](size_t layer, const TensorPlace& place, uint64_t first, std::span<std::byte> out) {
                       read_elements(memory.layer(static_cast<int>(layer)), place, settings.dtype, first, out);
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
    const auto gradient = engine.host_bytes(BufferKind::kHostGradient, static_cast<int>(layer));
    for (const TensorPlace& place : layouts[layer].tensors()) {
      specs.push_back({place.spec.name, DType::kFloat32, place.spec.shape});
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
