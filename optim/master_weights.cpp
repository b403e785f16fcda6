#include <algorithm>

#include "core/check.h"
#include "optim/host_optimizer.h"
#include "optim/state_planes.h"

namespace penstock {
namespace {

void check_place(const LayerStateView& layer, const TensorPlace& tensor, size_t master_count) {
  CHECK_EQ(master_count, tensor.element_count);
  CHECK_LE(tensor.offset + tensor.element_count, layer.layout->slab_elements());
}

}  // namespace

void read_master(const LayerStateView& layer, const TensorPlace& tensor, std::span<float> master) {
  const StatePlanes planes = state_planes(layer);
  check_place(layer, tensor, master.size());
  if (layer.format == StateFormat::kFloat32) {
    std::copy_n(planes.master + tensor.offset, master.size(), master.begin());
    return;
  }
  for (size_t i = 0; i < master.size(); ++i) {
    master[i] = join_master(planes.hi[tensor.offset + i], planes.lo[tensor.offset + i]);
  }
}

void write_master(const LayerStateView& layer, const TensorPlace& tensor, std::span<const float> master) {
  const StatePlanes planes = state_planes(layer);
  check_place(layer, tensor, master.size());
  std::fill_n(planes.m + tensor.offset, master.size(), 0.0f);
  std::fill_n(planes.v + tensor.offset, master.size(), 0.0f);
  if (layer.format == StateFormat::kFloat32) {
    std::copy(master.begin(), master.end(), planes.master + tensor.offset);
    return;
  }
  for (size_t i = 0; i < master.size(); ++i) {
    const MasterHalves halves = split_master(master[i]);
    planes.hi[tensor.offset + i] = halves.hi;
    planes.lo[tensor.offset + i] = halves.lo;
  }
}

}  // namespace penstock
