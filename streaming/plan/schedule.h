// A step as data: an immutable list of ops over a table of buffers. One list per step variant, one table for all
// variants of a run, so that buffer indices mean the same in each.
// Invariant: ops of one lane run in list order; every other order is in Op::waits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "streaming/plan/op.h"

namespace penstock {

struct Buffer {
  BufferKind kind;
  int index = 0;  // layer, slot or parity; 0 where there is one
  int micro_batch = -1;
  uint64_t bytes = 0;
  int piece = kWholeLayer;  // of kHostWire; hot rows: at most so many bytes, and which they are differs by step
  bool operator==(const Buffer&) const = default;
};

class BufferTable {
 public:
  // CHECKs that (kind, index, micro_batch, piece) is new.
  BufferIndex add(const Buffer& buffer);
  // CHECKs that it exists.
  BufferIndex find(BufferKind kind, int index = 0, int micro_batch = -1) const;
  bool contains(BufferKind kind, int index = 0, int micro_batch = -1) const;
  bool contains(const Buffer& like) const;  // its bytes are not looked at
  // CHECKs that it exists.
  BufferIndex find_piece(BufferKind kind, int index, int piece) const;
  // The whole, or all pieces in ascending order (hot rows before cold ones). Empty: there is no such buffer.
  std::vector<BufferIndex> pieces(BufferKind kind, int index) const;
  const Buffer& operator[](BufferIndex index) const;
  size_t size() const { return buffers_.size(); }
  const std::vector<Buffer>& all() const { return buffers_; }
  bool operator==(const BufferTable&) const = default;

 private:
  std::vector<Buffer> buffers_;
  std::unordered_map<uint64_t, BufferIndex> places_;  // by packed (kind, index, micro-batch or piece)
};

// What a step does with the update of the step before it, and what it computes.
enum class StepVariant : uint8_t { kTrainPending, kTrain, kDrain, kEval, kPrefill, kDecode };
std::string_view step_variant_name(StepVariant variant);  // "train-pending", "train", "drain", "eval", ...

class Schedule {
 public:
  // CHECKs that accesses name buffers of the table and that waits are ascending, earlier ops on other lanes, one a
  // lane.
  Schedule(StepVariant variant, int block_count, BufferTable buffers, std::vector<Op> ops);

  StepVariant variant() const { return variant_; }
  int block_count() const { return block_count_; }
  const BufferTable& buffers() const { return buffers_; }
  const std::vector<Op>& ops() const { return ops_; }
  // Op indices of one lane in issue order.
  const std::vector<OpIndex>& lane(LaneKind kind) const { return lanes_[static_cast<int>(kind)]; }
  bool operator==(const Schedule&) const = default;

 private:
  StepVariant variant_;
  int block_count_;
  BufferTable buffers_;
  std::vector<Op> ops_;
  std::vector<OpIndex> lanes_[kLaneCount];
};

// "E", "0", "17", "H"; "" for -1.
std::string layer_label(int layer, int block_count);
// "Forward(3,m1)", "Fetch(H)", "Fetch(H.2)" (a part), "Fetch(3:1)" (a piece), "Update(E:hot)", "Decide".
std::string op_label(const Op& op, int block_count);
// "wire(3)", "wire(3:1)", "wire(E:hot)", "weight_slot(1)", "activation(2,m0)", "decision".
std::string buffer_label(const Buffer& buffer, int block_count);

// One line per op; read by people, kept as goldens, and parsed back.
std::string dump_schedule(const Schedule& schedule);
// Inverse of dump_schedule. Throws Error(kBadInput) with the line number.
Schedule parse_schedule(std::string_view text);

}  // namespace penstock
