#include "streaming/plan/cost_model.h"

#include <algorithm>

namespace penstock {
namespace {

uint64_t declared_bytes(const Op& op, const BufferTable& buffers) {
  uint64_t bytes = 0;
  for (const Access& access : op.accesses) bytes += buffers[access.buffer].bytes;
  return bytes;
}

// A slot may be larger than the layer it holds: the smaller end is what crosses.
uint64_t copied_bytes(const Op& op, const BufferTable& buffers) {
  uint64_t bytes = UINT64_MAX;
  for (const Access& access : op.accesses) bytes = std::min(bytes, buffers[access.buffer].bytes);
  return op.accesses.empty() ? 0 : bytes;
}

uint64_t written_bytes(const Op& op, const BufferTable& buffers) {
  uint64_t bytes = 0;
  for (const Access& access : op.accesses) {
    if (access.mode == Mode::kWrite) bytes += buffers[access.buffer].bytes;
  }
  return bytes;
}

bool writes(const Op& op, const BufferTable& buffers, BufferKind kind) {
  return std::any_of(op.accesses.begin(), op.accesses.end(), [&](const Access& access) {
    return access.mode == Mode::kWrite && buffers[access.buffer].kind == kind;
  });
}

// Of a product's backward: half is the gradient of its input, half that of its weights; a frozen layer or one above
// nothing trained does less.
double backward_share(const Op& op, const BufferTable& buffers, BufferKind gradient_slot) {
  const bool of_input = writes(op, buffers, BufferKind::kActivationGradient);
  const bool of_weights = writes(op, buffers, gradient_slot);
  return (of_input ? 0.5 : 0.0) + (of_weights ? 0.5 : 0.0);
}

double transfer_seconds(uint64_t bytes, double bytes_per_second) {
  return bytes_per_second > 0 ? static_cast<double>(bytes) / bytes_per_second : 0.0;
}

}  // namespace

double CostModel::seconds(const Op& op, const BufferTable& buffers) const {
  switch (op.kind) {
    case OpKind::kUpdate:
    case OpKind::kNorm:
    case OpKind::kScatterEmbed:
    case OpKind::kSample:
      return transfer_seconds(declared_bytes(op, buffers), host_bytes_per_second);
    case OpKind::kEmbed:
      return transfer_seconds(2 * written_bytes(op, buffers), host_bytes_per_second);
    case OpKind::kDecide:
    case OpKind::kReport:
      return 0.0;
    case OpKind::kFetchEmbed:  // the rows and the batch table: two copies
      return 2 * copy_latency_seconds + transfer_seconds(written_bytes(op, buffers), h2d_bytes_per_second);
    case OpKind::kFetch:
      return copy_latency_seconds + transfer_seconds(copied_bytes(op, buffers), h2d_bytes_per_second);
    case OpKind::kOffload:
    case OpKind::kOffloadEmbed:
    case OpKind::kOffloadLoss:
    case OpKind::kOffloadLogits:
      return copy_latency_seconds + transfer_seconds(copied_bytes(op, buffers), d2h_bytes_per_second);
    case OpKind::kForward:
    case OpKind::kPrefill:
    case OpKind::kDecode:
      return forward_seconds;
    case OpKind::kLoss:
      return loss_seconds * (1 + 2 * backward_share(op, buffers, BufferKind::kHeadGradientSlot)) / 3;
    case OpKind::kHeadStatistics:
      return loss_seconds / 3 / head_parts;
    case OpKind::kHeadGradient:  // the logits again, then as Loss
      return loss_seconds * (1 + 2 * backward_share(op, buffers, BufferKind::kHeadGradientSlot)) / 3 / head_parts;
    case OpKind::kLogits:
      return loss_seconds / 3 / head_parts;
    case OpKind::kBackward:
      return backward_seconds * backward_share(op, buffers, BufferKind::kGradientSlot) +
             (writes(op, buffers, BufferKind::kRecomputed) ? recompute_seconds : 0.0);
    case OpKind::kPack:
      return pack_seconds;
  }
  return 0.0;
}

}  // namespace penstock
