#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "core/error.h"
#include "data/document_files.h"
#include "data/shuffle.h"
#include "data/step_batch.h"

namespace penstock {
namespace {

bool has_target(const DocumentStore& store, int64_t document) {
  std::array<int32_t, 256> tokens;
  std::array<int32_t, 256> targets;
  const int64_t total = store.token_count(document);
  for (int64_t offset = 0; offset < total; offset += std::ssize(tokens)) {
    const size_t count = static_cast<size_t>(std::min<int64_t>(total - offset, std::ssize(tokens)));
    store.read(document, offset, std::span(tokens).first(count), std::span(targets).first(count));
    const auto end = targets.begin() + static_cast<ptrdiff_t>(count);
    if (std::any_of(targets.begin(), end, [](int32_t target) { return target != kIgnoredTarget; })) return true;
  }
  return false;
}

bool any_target(const DocumentSelection& selection) {
  return std::any_of(selection.documents->begin(), selection.documents->end(),
                     [&](int64_t document) { return has_target(*selection.store, document); });
}

void require_targets(const DocumentSelection& selection, const char* key, const std::vector<std::string>& paths) {
  if (selection.documents->empty()) {
    throw Error(ExitCode::kBadInput,
                fmt::format("{} {} holds no document: every file or row of it is empty: give files with content", key,
                            fmt::join(paths, ", ")));
  }
  if (!any_target(selection)) {
    throw Error(
        ExitCode::kBadInput,
        fmt::format("{} {} has nothing to predict: every label is -100, or every row has one token: give longer "
                    "rows with labels of 0 and above",
                    key, fmt::join(paths, ", ")));
  }
}

}  // namespace

Dataset::Dataset(const DatasetOptions& options) {
  require_valid(options);
  store_ = load_documents(options.paths, "dataset.path", options);
  const int64_t count = store_->document_count();
  DocumentSplit split = split_documents(count, options.val_size, options.seed);
  training_ = std::move(split.training);
  validation_ = std::move(split.validation);
  if (count > 0 && training_.empty()) {
    throw Error(
        ExitCode::kBadInput,
        fmt::format("dataset.val_size {} takes all {} documents of dataset.path {} and leaves none to train on: "
                    "make it smaller, give more documents, or set dataset.eval_path instead",
                    options.val_size, count, fmt::join(options.paths, ", ")));
  }
  require_targets(training(), "dataset.path", options.paths);
  if (options.eval_paths.empty()) return;
  eval_store_ = load_documents(options.eval_paths, "dataset.eval_path", options);
  if (eval_store_->document_count() > 0 && eval_store_->kind() != store_->kind()) {
    throw Error(ExitCode::kBadInput,
                fmt::format("dataset.eval_path {} is not of the kind of dataset.path: give text for "
                            "both, or pre-tokenised rows for both",
                            fmt::join(options.eval_paths, ", ")));
  }
  validation_.resize(static_cast<size_t>(eval_store_->document_count()));
  std::iota(validation_.begin(), validation_.end(), int64_t{0});
  require_targets(validation(), "dataset.eval_path", options.eval_paths);
}

}  // namespace penstock
