// One op of a step, the buffers it touches and the lane it runs on. Plain data: no pointers, no times.
//
// Layers are numbered in need order: 0 is the embedding, 1..L the blocks, L+1 the head. Text shows them as
// E, 0..L-1, H.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"

namespace penstock {

enum class OpKind : uint8_t {
  kUpdate,          // host:    AdamW on one layer
  kEmbed,           // host:    gathers the tokens' embedding rows into host staging
  kFetchEmbed,      // fetch:   staging -> activation[0][m] and the batch table
  kFetch,           // fetch:   wire weights -> slot
  kForward,         // compute: one block on one micro-batch
  kLoss,            // compute: head forward, loss, and in training the head's backward
  kHeadStatistics,  // compute: head in parts, first pass: running log-sum-exp; the last part writes the loss
  kHeadGradient,    // compute: head in parts, second pass in falling order: gradients
  kBackward,        // compute: one block on one micro-batch; accumulates into a gradient slot in fp32
  kPack,            // compute: fp32 gradient slot -> wire staging, the one cast
  kOffload,         // offload: gradient -> host gradient
  kOffloadEmbed,    // offload: d_activation[0][m] -> host
  kScatterEmbed,    // host:    row sums of all micro-batches -> host gradient of the embedding
  kNorm,            // host:    sum of squares and finite flag of one layer's host gradient
  kOffloadLoss,     // offload: loss sums -> host
  kDecide,          // host:    all norms and the loss -> clip factor; apply, skip or stop
  kReport,          // host:    closes an evaluation step
  kPrefill,         // compute: one block on whole prompts; fills the KV cache
  kDecode,          // compute: one block on one token a row; reads and extends the KV cache
  kLogits,          // compute: head on the last position of every row
  kOffloadLogits,   // offload: logits -> host
  kSample,          // host:    picks the next tokens
};
inline constexpr int kOpKindCount = 22;

std::string_view op_kind_name(OpKind kind);  // "Update", "FetchEmbed", ...
LaneKind lane_of(OpKind kind);

enum class BufferKind : uint8_t {
  kHostWire,              // [layer:piece]  wire weights, in the host arena
  kHostState,             // [layer]        remainder or master, m, v
  kHostGradient,          // [layer]        in eager mode blocks share a ring: index = ring position + 1
  kEmbedStaging,          // [micro batch]  host: embedding rows, then the batch table
  kEmbedGradientStaging,  // [micro batch]  host: d_activation[0][m]
  kNorm,                  // [layer]        host
  kHostLoss,              // []             host
  kDecision,              // []             host: clip factor and verdict
  kHostLogits,            // []             host
  kHostTokens,            // []             host: next tokens
  kWeightSlot,            // [slot]         device, one block's wire weights
  kHeadSlot,              // [slot]         device; several where the head comes in parts
  kBatchTable,            // [micro batch]  device: positions, targets and segments of its tokens
  kActivation,  // [row, micro batch] device: row r is the output of layer r; rows that no backward reads alternate two
  kSaved,       // [layer, micro batch] device: intermediates of a kept block
  kRecomputed,  // []             device: the same for one block, rebuilt in backward
  kActivationGradient,  // [parity, micro batch] device
  kGradientSlot,        // [slot]         device, fp32
  kHeadGradientSlot,    // [slot]         device, fp32
  kWireStaging,         // [slot]         device, packed gradient
  kHeadWireStaging,     // [slot]         device
  kHeadStatistics,      // [micro batch]  device: head in parts, a token's maximum, sum and target logit
  kHeadInputGradient,   // [micro batch]  device: head in parts, fp32 sum over the parts
  kLoss,                // []             device, one sum per micro-batch
  kWorkspace,           // []             device: scratch of the compute lane
  kKvCache,             // [layer]        device
  kLogits,              // []             device
};
inline constexpr int kBufferKindCount = 27;

std::string_view buffer_kind_name(BufferKind kind);  // "wire", "state", "host_gradient", "weight_slot", ...
bool on_device(BufferKind kind);

// What Buffer::index counts.
enum class IndexMeaning : uint8_t { kNone, kLayer, kNumber };  // kNone: always 0; kNumber: a slot, a row or a parity
IndexMeaning index_meaning(BufferKind kind);

// A piece of a layer's wire weights, where Update and Fetch take them one by one: 0, 1, ... in slab order, or, of the
// layer that holds the embedding, the rows that this step's tokens name and the rest.
inline constexpr int kWholeLayer = -1;
inline constexpr int kHotRows = -2;
inline constexpr int kColdRows = -3;

using BufferIndex = uint32_t;
using OpIndex = uint32_t;

enum class Mode : uint8_t { kRead, kWrite };  // an accumulation declares both, the read first

struct Access {
  BufferIndex buffer;
  Mode mode;
  bool operator==(const Access&) const = default;
};

struct Op {
  OpKind kind;
  LaneKind lane;
  int layer = -1;  // -1: the op belongs to no layer
  int part = -1;   // of the head, where it comes in parts; -1: the whole layer
  int piece = kWholeLayer;
  int micro_batch = -1;  // -1: to no micro-batch
  std::vector<Access> accesses;
  std::vector<OpIndex> waits;  // producers on other lanes, at most one per lane, ascending; filled by ScheduleBuilder
  bool operator==(const Op&) const = default;
};

}  // namespace penstock
