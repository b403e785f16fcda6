#include "streaming/plan/cost_model.h"

#include <algorithm>

#include "core/check.h"

namespace penstock {
namespace {

uint64_t declared_bytes(const Op& op, const BufferTable& buffers) {
  uint64_t bytes = 0;
  for (const Access& access : op.accesses) bytes += buffers[access.buffer].bytes;
  return bytes;
}

// All pieces of a layer's wire weights that the op reads.
uint64_t wire_bytes(const Op& op, const BufferTable& buffers) {
  uint64_t bytes = 0;
  for (const Access& access : op.accesses) {
    const Buffer& buffer = buffers[access.buffer];
    if (access.mode == Mode::kRead && buffer.kind == BufferKind::kHostWire) bytes += buffer.bytes;
  }
  return bytes;
}

// A slot may be larger than the layer it holds: the smaller end is what crosses.
uint64_t copied_bytes(const Op& op, const BufferTable& buffers) {
  const uint64_t wire = wire_bytes(op, buffers);
  uint64_t bytes = wire > 0 ? wire : UINT64_MAX;
  for (const Access& access : op.accesses) {
    const Buffer& buffer = buffers[access.buffer];
    if (buffer.kind != BufferKind::kHostWire) bytes = std::min(bytes, buffer.bytes);
  }
  return op.accesses.empty() ? 0 : bytes;
}

// A piece takes its share of the layer's gradient and state, which it declares as a whole.
double update_bytes(const Op& op, const BufferTable& buffers) {
  const uint64_t taken = wire_bytes(op, buffers);
  CHECK_GE(op.layer, 0);
  uint64_t layer = 0;
  for (const BufferIndex piece : buffers.pieces(BufferKind::kHostWire, op.layer)) layer += buffers[piece].bytes;
  const double share = layer == 0 ? 1.0 : static_cast<double>(taken) / static_cast<double>(layer);
  const double shared = static_cast<double>(declared_bytes(op, buffers) - 2 * taken);
  return 2 * static_cast<double>(taken) + share * shared;
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

double transfer_seconds(double bytes, double bytes_per_second) {
  return bytes_per_second > 0 ? bytes / bytes_per_second : 0.0;
}

double transfer_seconds(uint64_t bytes, double bytes_per_second) {
  return transfer_seconds(static_cast<double>(bytes), bytes_per_second);
}

}  // namespace

double CostModel::seconds(const Op& op, const BufferTable& buffers) const {
  switch (op.kind) {
    case OpKind::kUpdate:
      return transfer_seconds(update_bytes(op, buffers), host_bytes_per_second);
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
