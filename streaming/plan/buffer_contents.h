// What each buffer holds while a sequence of steps is executed symbolically: no bytes, only whose they are.
// Not a race check: ops run in list order here.
#pragma once

#include <string>
#include <vector>

#include "streaming/plan/schedule_check.h"

namespace penstock {

enum class What : uint8_t {
  kNothing,             // never written
  kWeights,             // layer, version, piece (in a slot: the last one fetched); in a slot also step
  kState,               // layer, version, piece (the last one updated; whole: none is yet)
  kBatchTable,          // micro_batch, step
  kActivation,          // layer (its output), micro_batch, step
  kSaved,               // layer, micro_batch, step
  kActivationGradient,  // of the output of layer, micro_batch, step
  kGradient,            // layer, part, micro_batch (the last one summed), step
  kUnsharedGradient,    // of a tied head, without the embedding's rows: layer, micro_batch, step
  kHeadStatistics,      // part (the last one seen), micro_batch, step
  kHeadInputGradient,   // the same
  kLoss,                // micro_batch (the last one summed), step
  kNorm,                // layer, step
  kDecision,            // step
  kKvCache,             // layer, version: tokens generated
  kLogits,              // step
  kTokens,              // version: tokens generated
};

struct Content {
  What what = What::kNothing;
  int layer = -1;
  int part = -1;  // of the head; -1: whole
  int piece = kWholeLayer;
  int micro_batch = -1;
  int version = -1;  // of weights and state: updates applied
  int step = -1;     // position in the sequence
  bool operator==(const Content&) const = default;
};

// "gradient of H up to m1, step 2".
std::string content_text(const Content& content, int block_count);

// Contents by buffer, and the findings so far. For each op: begin_op, then one read() or write() per declared access,
// then end_op, which reports accesses nobody asked for.
class BufferContents {
 public:
  // Wire weights and state start at version 0, everything else unwritten.
  explicit BufferContents(const Schedule& first);

  void begin_step(const Schedule& schedule, int step);
  void begin_op(OpIndex op);
  void end_op();

  bool reads(BufferKind kind) const;
  bool writes(BufferKind kind) const;
  // The op must read one buffer of the kind (that no earlier read() took) and find `expected` in it.
  void read(BufferKind kind, const Content& expected);
  // The op must write one buffer of the kind, which then holds `content`.
  void write(BufferKind kind, const Content& content);
  // For buffers whose bytes carry nothing from op to op.
  void scratch(BufferKind kind);

  const Content& held(BufferIndex buffer) const { return contents_[buffer]; }
  // A finding about the current op, or about the whole step outside of begin_op and end_op.
  void report(const std::string& what);
  const std::vector<ScheduleFinding>& findings() const { return findings_; }

 private:
  // Position of the first such access not taken yet in the op's list, or -1.
  int find_access(BufferKind kind, Mode mode) const;
  // The same for reads, but an access that finds `expected` comes first: ops may list several buffers of a kind.
  int find_read(BufferKind kind, const Content& expected) const;
  std::string label_of(BufferIndex buffer) const;

  const Schedule* schedule_;
  int step_ = 0;
  const Op* op_ = nullptr;
  OpIndex op_index_ = 0;
  std::vector<bool> taken_;  // by access of the current op
  std::vector<Content> contents_;
  std::vector<ScheduleFinding> findings_;
};

}  // namespace penstock
