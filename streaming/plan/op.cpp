#include "streaming/plan/op.h"

#include "core/check.h"

namespace penstock {
namespace {

struct OpKindTraits {
  std::string_view name;
  LaneKind lane;
};

constexpr OpKindTraits kOpKinds[kOpKindCount] = {
    {"Update", LaneKind::kHost},
    {"Embed", LaneKind::kHost},
    {"FetchEmbed", LaneKind::kFetch},
    {"Fetch", LaneKind::kFetch},
    {"Forward", LaneKind::kCompute},
    {"Loss", LaneKind::kCompute},
    {"HeadStatistics", LaneKind::kCompute},
    {"HeadGradient", LaneKind::kCompute},
    {"Backward", LaneKind::kCompute},
    {"Pack", LaneKind::kCompute},
    {"Offload", LaneKind::kOffload},
    {"OffloadEmbed", LaneKind::kOffload},
    {"ScatterEmbed", LaneKind::kHost},
    {"Norm", LaneKind::kHost},
    {"OffloadLoss", LaneKind::kOffload},
    {"Decide", LaneKind::kHost},
    {"Report", LaneKind::kHost},
    {"Prefill", LaneKind::kCompute},
    {"Decode", LaneKind::kCompute},
    {"Logits", LaneKind::kCompute},
    {"OffloadLogits", LaneKind::kOffload},
    {"Sample", LaneKind::kHost},
};

struct BufferKindTraits {
  std::string_view name;
  bool on_device;
  IndexMeaning index;
};

constexpr BufferKindTraits kBufferKinds[kBufferKindCount] = {
    {"wire", false, IndexMeaning::kLayer},
    {"state", false, IndexMeaning::kLayer},
    {"host_gradient", false, IndexMeaning::kLayer},
    {"embed_staging", false, IndexMeaning::kNone},
    {"embed_gradient_staging", false, IndexMeaning::kNone},
    {"norm", false, IndexMeaning::kLayer},
    {"host_loss", false, IndexMeaning::kNone},
    {"decision", false, IndexMeaning::kNone},
    {"host_logits", false, IndexMeaning::kNone},
    {"host_tokens", false, IndexMeaning::kNone},
    {"weight_slot", true, IndexMeaning::kNumber},
    {"head_slot", true, IndexMeaning::kNumber},
    {"batch_table", true, IndexMeaning::kNone},
    {"activation", true, IndexMeaning::kNumber},
    {"saved", true, IndexMeaning::kLayer},
    {"recomputed", true, IndexMeaning::kNone},
    {"activation_gradient", true, IndexMeaning::kNumber},
    {"gradient_slot", true, IndexMeaning::kNumber},
    {"head_gradient_slot", true, IndexMeaning::kNumber},
    {"wire_staging", true, IndexMeaning::kNumber},
    {"head_wire_staging", true, IndexMeaning::kNumber},
    {"head_statistics", true, IndexMeaning::kNone},
    {"head_input_gradient", true, IndexMeaning::kNone},
    {"loss", true, IndexMeaning::kNone},
    {"workspace", true, IndexMeaning::kNone},
    {"kv_cache", true, IndexMeaning::kLayer},
    {"logits", true, IndexMeaning::kNone},
};

const OpKindTraits& traits(OpKind kind) {
  CHECK_LT(static_cast<int>(kind), kOpKindCount);
  return kOpKinds[static_cast<int>(kind)];
}

const BufferKindTraits& traits(BufferKind kind) {
  CHECK_LT(static_cast<int>(kind), kBufferKindCount);
  return kBufferKinds[static_cast<int>(kind)];
}

}  // namespace

std::string_view op_kind_name(OpKind kind) { return traits(kind).name; }
LaneKind lane_of(OpKind kind) { return traits(kind).lane; }
std::string_view buffer_kind_name(BufferKind kind) { return traits(kind).name; }
bool on_device(BufferKind kind) { return traits(kind).on_device; }
IndexMeaning index_meaning(BufferKind kind) { return traits(kind).index; }

}  // namespace penstock
