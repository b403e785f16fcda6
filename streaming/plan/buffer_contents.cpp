#include "streaming/plan/buffer_contents.h"

#include "core/check.h"

namespace penstock {
namespace {

constexpr size_t kMaxFindings = 20;

std::string_view what_name(What what) {
  switch (what) {
    case What::kNothing:
      return "nothing yet";
    case What::kWeights:
      return "weights";
    case What::kState:
      return "state";
    case What::kBatchTable:
      return "batch table";
    case What::kActivation:
      return "output";
    case What::kSaved:
      return "intermediates";
    case What::kActivationGradient:
      return "output gradient";
    case What::kGradient:
      return "gradient";
    case What::kUnsharedGradient:
      return "gradient without the embedding's rows";
    case What::kHeadStatistics:
      return "statistics";
    case What::kHeadInputGradient:
      return "input gradient";
    case What::kLoss:
      return "loss";
    case What::kNorm:
      return "norm";
    case What::kDecision:
      return "decision";
    case What::kKvCache:
      return "KV cache";
    case What::kLogits:
      return "logits";
    case What::kTokens:
      return "tokens";
  }
  return "?";
}

}  // namespace

std::string content_text(const Content& content, int block_count) {
  std::string text(what_name(content.what));
  if (content.layer >= 0) text += " of " + layer_label(content.layer, block_count);
  if (content.part >= 0) text += ", part " + std::to_string(content.part);
  if (content.piece == kHotRows || content.piece == kColdRows) {
    text += content.piece == kHotRows ? ", hot rows" : ", cold rows";
  } else if (content.piece != kWholeLayer) {
    text += ", piece " + std::to_string(content.piece);
  }
  if (content.micro_batch >= 0) {
    const bool is_sum = content.what == What::kGradient || content.what == What::kLoss;
    text += (is_sum ? " up to m" : " for m") + std::to_string(content.micro_batch);
  }
  if (content.version >= 0) text += " at version " + std::to_string(content.version);
  if (content.step >= 0) text += " of step " + std::to_string(content.step);
  return text;
}

BufferContents::BufferContents(const Schedule& first) : schedule_(&first), contents_(first.buffers().size()) {
  for (BufferIndex i = 0; i < contents_.size(); ++i) {
    const Buffer& buffer = first.buffers()[i];
    if (buffer.kind == BufferKind::kHostWire)
      contents_[i] = {.what = What::kWeights, .layer = buffer.index, .piece = buffer.piece, .version = 0};
    if (buffer.kind == BufferKind::kHostState)
      contents_[i] = {.what = What::kState, .layer = buffer.index, .version = 0};
  }
}

void BufferContents::begin_step(const Schedule& schedule, int step) {
  CHECK(schedule.buffers() == schedule_->buffers());
  schedule_ = &schedule;
  step_ = step;
}

void BufferContents::begin_op(OpIndex op) {
  op_index_ = op;
  op_ = &schedule_->ops()[op];
  taken_.assign(op_->accesses.size(), false);
}

void BufferContents::end_op() {
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i]) continue;
    const Access& access = op_->accesses[i];
    report((access.mode == Mode::kRead ? "has no use for reading " : "has no use for writing ") +
           label_of(access.buffer));
  }
  op_ = nullptr;
}

bool BufferContents::reads(BufferKind kind) const { return find_access(kind, Mode::kRead) >= 0; }
bool BufferContents::writes(BufferKind kind) const { return find_access(kind, Mode::kWrite) >= 0; }

void BufferContents::read(BufferKind kind, const Content& expected) {
  const int position = find_read(kind, expected);
  if (position < 0) {
    report("reads no " + std::string(buffer_kind_name(kind)) + " with " +
           content_text(expected, schedule_->block_count()));
    return;
  }
  taken_[static_cast<size_t>(position)] = true;
  const BufferIndex buffer = op_->accesses[static_cast<size_t>(position)].buffer;
  if (contents_[buffer] == expected) return;
  report("reads " + label_of(buffer) + ", which holds " + content_text(contents_[buffer], schedule_->block_count()) +
         ", not " + content_text(expected, schedule_->block_count()));
}

void BufferContents::write(BufferKind kind, const Content& content) {
  const int position = find_access(kind, Mode::kWrite);
  if (position < 0) {
    report("writes no " + std::string(buffer_kind_name(kind)) + " with " +
           content_text(content, schedule_->block_count()));
    return;
  }
  taken_[static_cast<size_t>(position)] = true;
  contents_[op_->accesses[static_cast<size_t>(position)].buffer] = content;
}

void BufferContents::scratch(BufferKind kind) {
  const int position = find_access(kind, Mode::kWrite);
  if (position < 0) {
    report("writes no " + std::string(buffer_kind_name(kind)));
    return;
  }
  taken_[static_cast<size_t>(position)] = true;
  contents_[op_->accesses[static_cast<size_t>(position)].buffer] = Content{};
}

void BufferContents::report(const std::string& what) {
  if (findings_.size() >= kMaxFindings) return;
  std::string text =
      "step " + std::to_string(step_) + " (" + std::string(step_variant_name(schedule_->variant())) + "): ";
  if (op_ != nullptr) {
    text += op_label(*op_, schedule_->block_count()) + " [op " + std::to_string(op_index_) + "] ";
  }
  findings_.push_back({text + what});
}

int BufferContents::find_access(BufferKind kind, Mode mode) const {
  for (size_t i = 0; i < op_->accesses.size(); ++i) {
    const Access& access = op_->accesses[i];
    if (!taken_[i] && access.mode == mode && schedule_->buffers()[access.buffer].kind == kind)
      return static_cast<int>(i);
  }
  return -1;
}

int BufferContents::find_read(BufferKind kind, const Content& expected) const {
  for (size_t i = 0; i < op_->accesses.size(); ++i) {
    const Access& access = op_->accesses[i];
    if (taken_[i] || access.mode != Mode::kRead || schedule_->buffers()[access.buffer].kind != kind) continue;
    if (contents_[access.buffer] == expected) return static_cast<int>(i);
  }
  return find_access(kind, Mode::kRead);
}

std::string BufferContents::label_of(BufferIndex buffer) const {
  return buffer_label(schedule_->buffers()[buffer], schedule_->block_count());
}

}  // namespace penstock
