#include <algorithm>

#include "core/check.h"
#include "optim/cast_kernels.h"
#include "optim/host_optimizer.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

void check_place(const LayerStateView& layer, const TensorPlace& tensor, uint64_t first_element, uint64_t count) {
  CHECK_LE(first_element, tensor.element_count);
  CHECK_LE(count, tensor.element_count - first_element);
  CHECK(tensor.spec.trainable);  // a frozen tensor has wire weights only
  CHECK_LE(tensor.offset + tensor.element_count, layer.layout->trainable_elements());
}

}  // namespace

void read_master(const LayerStateView& layer, const TensorPlace& tensor, std::span<float> master) {
  const StatePlanes planes = state_planes(layer);
  CHECK_EQ(master.size(), tensor.element_count);
  check_place(layer, tensor, 0, master.size());
  const uint64_t first = tensor.offset;
  switch (layer.format) {
    case StateFormat::kExact:
      for (size_t i = 0; i < master.size(); ++i) master[i] = join_master(planes.hi[first + i], planes.lo[first + i]);
      return;
    case StateFormat::kFloat32:
      std::copy_n(planes.master + first, master.size(), master.begin());
      return;
    case StateFormat::kCompact:
    case StateFormat::kCompact8:
      cast_to_float({planes.hi + first, master.size()}, master);
      return;
  }
}

void write_master(const LayerStateView& layer, const TensorPlace& tensor, std::span<const float> master) {
  CHECK_EQ(master.size(), tensor.element_count);
  write_master(layer, tensor, 0, master);
}

void write_master(const LayerStateView& layer, const TensorPlace& tensor, uint64_t first_element,
                  std::span<const float> master) {
  const StatePlanes planes = state_planes(layer);
  check_place(layer, tensor, first_element, master.size());
  const uint64_t first = tensor.offset + first_element;
  clear_moments(layer, first, master.size());
  switch (layer.format) {
    case StateFormat::kExact:
      for (size_t i = 0; i < master.size(); ++i) {
        const MasterHalves halves = split_master(master[i]);
        planes.hi[first + i] = halves.hi;
        planes.lo[first + i] = halves.lo;
      }
      return;
    case StateFormat::kFloat32:
      std::copy(master.begin(), master.end(), planes.master + first);
      return;
    case StateFormat::kCompact:
    case StateFormat::kCompact8:
      cast_to_bfloat16(master, {planes.hi + first, master.size()});
      return;
  }
}

}  // namespace penstock
