// The documents a run trains on and validates on, loaded and split.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/dataset_options.h"
#include "data/document_store.h"

namespace penstock {

// Documents of one store by index. A view: the Dataset outlives it.
struct DocumentSelection {
  const DocumentStore* store;
  const std::vector<int64_t>* documents;  // ascending
};

class Dataset {
 public:
  // Reads everything that dataset.path and dataset.eval_path name. Throws Error(kBadInput) for bad options, for bad
  // files, and when nothing is left to train on or to validate on although validation was asked for.
  explicit Dataset(const DatasetOptions& options);

  DocumentSelection training() const { return {store_.get(), &training_}; }
  // No documents when there is no validation.
  DocumentSelection validation() const { return {eval_store_ ? eval_store_.get() : store_.get(), &validation_}; }

 private:
  std::unique_ptr<DocumentStore> store_;
  std::unique_ptr<DocumentStore> eval_store_;  // of dataset.eval_path; null: validation is part of store_
  std::vector<int64_t> training_;
  std::vector<int64_t> validation_;
};

}  // namespace penstock
