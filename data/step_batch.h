// The tokens of one step, as the loader hands them to the trainer.
#pragma once

#include <cstdint>
#include <vector>

namespace penstock {

inline constexpr int32_t kIgnoredTarget = -100;

// [B, T] tokens flattened row by row. targets[i] is the token that position i must predict (already shifted), or
// kIgnoredTarget; a target never crosses a document. Padding tokens have position 0.., belong to segments of their own
// and are never trained.
struct MicroBatch {
  int64_t rows = 0;
  int64_t length = 0;
  std::vector<int32_t> tokens = {};
  std::vector<int32_t> positions = {};
  std::vector<int32_t> targets = {};
  // Ascending, first 0, last B*T; a segment is one document's part of one row.
  std::vector<int32_t> segment_starts = {};
  int64_t trained_tokens = 0;
  int64_t real_tokens = 0;   // without padding
  int64_t target_bytes = 0;  // trained targets that are bytes of text (EOS is none); 0 for pre-tokenised rows

  bool operator==(const MicroBatch&) const = default;
};

// Where the stream of training rows stands: enough to continue it exactly.
struct DataCursor {
  int64_t epoch = 0;
  int64_t row = 0;  // the next one, as an index into the epoch's shuffled rows; less than the epoch has
  bool operator==(const DataCursor&) const = default;
};

struct StepBatch {
  std::vector<MicroBatch> micro_batches;
  int64_t trained_tokens = 0;
  int64_t real_tokens = 0;
  int64_t target_bytes = 0;  // bits per byte = nats summed over trained targets / ln 2 / target_bytes
  DataCursor cursor;         // of the training stream after this step

  bool operator==(const StepBatch&) const = default;
};

}  // namespace penstock
