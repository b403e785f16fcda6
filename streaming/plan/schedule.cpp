#include "streaming/plan/schedule.h"

#include <utility>

#include "core/check.h"

namespace penstock {
namespace {

constexpr int kMaxPart = 1 << 27;  // of an index, a micro-batch or a piece, so that a key fits 64 bits

// No buffer has both a micro-batch and a piece, so the two share a field: micro-batches below, pieces above.
uint64_t pack_key(BufferKind kind, int index, int micro_batch, int piece) {
  CHECK_GE(index, 0);
  CHECK_LT(index, kMaxPart);
  CHECK_GE(micro_batch, -1);
  CHECK_LT(micro_batch, kMaxPart - 1);
  CHECK_GE(piece, kColdRows);
  CHECK_LT(piece, kMaxPart + kColdRows);
  CHECK(piece == kWholeLayer || micro_batch == -1);
  const int last = piece == kWholeLayer ? micro_batch + 1 : kMaxPart + piece - kColdRows;
  return (static_cast<uint64_t>(kind) << 56) | (static_cast<uint64_t>(index) << 28) | static_cast<uint64_t>(last);
}

std::string piece_label(int piece) {
  if (piece == kWholeLayer) return "";
  if (piece == kHotRows) return ":hot";
  if (piece == kColdRows) return ":cold";
  return ":" + std::to_string(piece);
}

void check_op(const std::vector<Op>& ops, OpIndex index, size_t buffer_count) {
  const Op& op = ops[index];
  for (const Access& access : op.accesses) CHECK_LT(access.buffer, buffer_count);
  unsigned lanes_seen = 1u << static_cast<int>(op.lane);
  int64_t previous = -1;
  for (const OpIndex producer : op.waits) {
    CHECK_LT(producer, index);
    CHECK_LT(previous, static_cast<int64_t>(producer));
    const unsigned lane = 1u << static_cast<int>(ops[producer].lane);
    CHECK_EQ(lanes_seen & lane, 0u);
    lanes_seen |= lane;
    previous = producer;
  }
}

// "name", "name(a)", "name(a,m3)", "name(m3)".
std::string label(std::string_view name, const std::string& argument, int micro_batch) {
  std::string text(name);
  if (argument.empty() && micro_batch < 0) return text;
  text += '(';
  text += argument;
  if (micro_batch >= 0) {
    if (!argument.empty()) text += ',';
    text += 'm';
    text += std::to_string(micro_batch);
  }
  return text += ')';
}

}  // namespace

BufferIndex BufferTable::add(const Buffer& buffer) {
  if (index_meaning(buffer.kind) == IndexMeaning::kNone) CHECK_EQ(buffer.index, 0);
  const BufferIndex place = static_cast<BufferIndex>(buffers_.size());
  const bool is_new =
      places_.emplace(pack_key(buffer.kind, buffer.index, buffer.micro_batch, buffer.piece), place).second;
  CHECK(is_new);
  buffers_.push_back(buffer);
  return place;
}

BufferIndex BufferTable::find(BufferKind kind, int index, int micro_batch) const {
  const auto found = places_.find(pack_key(kind, index, micro_batch, kWholeLayer));
  CHECK(found != places_.end());
  return found->second;
}

bool BufferTable::contains(BufferKind kind, int index, int micro_batch) const {
  return places_.contains(pack_key(kind, index, micro_batch, kWholeLayer));
}

bool BufferTable::contains(const Buffer& like) const {
  return places_.contains(pack_key(like.kind, like.index, like.micro_batch, like.piece));
}

BufferIndex BufferTable::find_piece(BufferKind kind, int index, int piece) const {
  const auto found = places_.find(pack_key(kind, index, -1, piece));
  CHECK(found != places_.end());
  return found->second;
}

std::vector<BufferIndex> BufferTable::pieces(BufferKind kind, int index) const {
  std::vector<BufferIndex> found;
  const auto add = [&](int piece) {
    const auto place = places_.find(pack_key(kind, index, -1, piece));
    if (place != places_.end()) found.push_back(place->second);
    return place != places_.end();
  };
  if (add(kWholeLayer) || (add(kHotRows) && add(kColdRows))) return found;
  for (int piece = 0; add(piece);) ++piece;
  return found;
}

const Buffer& BufferTable::operator[](BufferIndex index) const {
  CHECK_LT(index, buffers_.size());
  return buffers_[index];
}

std::string_view step_variant_name(StepVariant variant) {
  switch (variant) {
    case StepVariant::kTrainPending:
      return "train-pending";
    case StepVariant::kTrain:
      return "train";
    case StepVariant::kDrain:
      return "drain";
    case StepVariant::kEval:
      return "eval";
    case StepVariant::kPrefill:
      return "prefill";
    case StepVariant::kDecode:
      return "decode";
  }
  return "?";
}

Schedule::Schedule(StepVariant variant, int block_count, BufferTable buffers, std::vector<Op> ops)
    : variant_(variant), block_count_(block_count), buffers_(std::move(buffers)), ops_(std::move(ops)) {
  CHECK_GE(block_count_, 1);
  for (OpIndex i = 0; i < ops_.size(); ++i) {
    check_op(ops_, i, buffers_.size());
    lanes_[static_cast<int>(ops_[i].lane)].push_back(i);
  }
}

std::string layer_label(int layer, int block_count) {
  CHECK_GE(layer, -1);
  CHECK_LE(layer, block_count + 1);
  if (layer == -1) return "";
  if (layer == 0) return "E";
  if (layer == block_count + 1) return "H";
  return std::to_string(layer - 1);
}

std::string op_label(const Op& op, int block_count) {
  std::string argument = layer_label(op.layer, block_count);
  if (op.part >= 0) argument += "." + std::to_string(op.part);
  argument += piece_label(op.piece);
  return label(op_kind_name(op.kind), argument, op.micro_batch);
}

std::string buffer_label(const Buffer& buffer, int block_count) {
  std::string argument;
  switch (index_meaning(buffer.kind)) {
    case IndexMeaning::kNone:
      break;
    case IndexMeaning::kLayer:
      argument = layer_label(buffer.index, block_count) + piece_label(buffer.piece);
      break;
    case IndexMeaning::kNumber:
      argument = std::to_string(buffer.index);
      break;
  }
  return label(buffer_kind_name(buffer.kind), argument, buffer.micro_batch);
}

}  // namespace penstock
