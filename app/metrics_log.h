// metrics.jsonl: one JSON object per line, on disk after every step. The record of a run that programs read.
// Invariant: steps never go back; a run that resumes at step S first forgets the lines after S.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/device.h"

namespace penstock {

// Numbers that are not finite are written as null; the loss and norm of a skipped step should be NaN.
struct StepMetrics {
  int64_t step = 0;  // 1 for the first
  double loss = 0;
  double gradient_norm = 0;
  double clip_factor = 1;
  double learning_rate = 0;
  int64_t tokens = 0;
  int64_t trained_tokens = 0;
  double tokens_per_second = 0;
  double step_ms = 0;                           // wall time
  double data_ms = 0;                           // of it, waiting for the loader
  std::array<double, kLaneCount> lane_ms = {};  // time each lane was busy: fetch_ms, compute_ms, ...
  bool skipped = false;
};

struct EvaluationMetrics {
  int64_t step = 0;
  double eval_loss = 0;      // nats per trained token
  double bits_per_byte = 0;  // 0: targets are not bytes of text; written as null
};

// The line of an object, without the line's end.
std::string metrics_line(const StepMetrics& metrics);
std::string metrics_line(const EvaluationMetrics& metrics);

class MetricsLog {
 public:
  // Opens `path` for appending. First drops the lines with a step above `last_step` and what a crash left half-written;
  // a crash in between leaves the old file. 0 starts an empty log. Throws Error(kIo).
  MetricsLog(const std::filesystem::path& path, int64_t last_step);

  // Written out before they return. Throw Error(kIo), for example on a full disk.
  void append(const StepMetrics& metrics) { append_line(metrics_line(metrics)); }
  void append(const EvaluationMetrics& metrics) { append_line(metrics_line(metrics)); }

 private:
  void append_line(const std::string& line);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace penstock
