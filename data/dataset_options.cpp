#include "data/dataset_options.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace penstock {
namespace {

void require_positive(const char* key, int64_t value, std::vector<std::string>& problems) {
  if (value < 1) problems.push_back(fmt::format("{} is {}: set 1 or more", key, value));
}

// Segment borders are 32-bit token indices of one micro-batch.
void require_countable(const DatasetOptions& options, std::vector<std::string>& problems) {
  constexpr int64_t kMaximum = std::numeric_limits<int32_t>::max();
  if (options.rows < 1 || options.max_seq_len < 1 || options.max_seq_len <= kMaximum / options.rows) return;
  problems.push_back(
      fmt::format("training.per_device_train_batch_size {} x dataset.max_seq_len {} is more than {} tokens: make one "
                  "smaller and training.gradient_accumulation_steps larger",
                  options.rows, options.max_seq_len, kMaximum));
}

void require_split(const DatasetOptions& options, std::vector<std::string>& problems) {
  const double size = options.val_size;
  const bool part = size > 0 && size < 1;
  const bool count = size >= 0 && size == std::floor(size) && size < 1e15;
  if (!part && !count) {
    problems.push_back(fmt::format(
        "dataset.val_size is {}: set a part between 0 and 1, a whole number of documents, or 0 for none", size));
  }
  if (size > 0 && !options.eval_paths.empty()) {
    problems.push_back(fmt::format("dataset.val_size is {} and dataset.eval_path is set too: keep one of them", size));
  }
}

}  // namespace

DatasetFormat dataset_format_from_name(std::string_view name) {
  if (name == "auto") return DatasetFormat::kAuto;
  if (name == "text") return DatasetFormat::kText;
  if (name == "jsonl") return DatasetFormat::kJsonl;
  throw Error(ExitCode::kBadInput, fmt::format("dataset.format is {}: set auto, text or jsonl", name));
}

void require_valid(const DatasetOptions& options) {
  std::vector<std::string> problems;
  if (options.paths.empty()) problems.push_back("dataset.path is empty: name a file, a folder or a pattern");
  require_positive("dataset.max_seq_len", options.max_seq_len, problems);
  require_positive("training.per_device_train_batch_size", options.rows, problems);
  require_positive("training.gradient_accumulation_steps", options.micro_batches, problems);
  require_positive("model.vocab_size", options.vocab_size, problems);
  require_countable(options, problems);
  require_split(options, problems);
  if (!problems.empty()) throw Error(ExitCode::kBadInput, fmt::format("{}", fmt::join(problems, "; ")));
}

}  // namespace penstock
