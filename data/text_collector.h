// Takes the texts of a data set one by one and makes their store: bytes stay text, a model's tokenizer gets them in
// batches, so that text and ids are in memory together for one batch only (or one document, if that is longer).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset_options.h"
#include "data/document_store.h"
#include "data/text_encoder.h"

namespace penstock {

class TextCollector {
 public:
  static constexpr size_t kBatchBytes = size_t{4} << 20;
  static constexpr size_t kBatchDocuments = 1000;

  // `options` outlives the collector.
  explicit TextCollector(const DatasetOptions& options) : options_(options) {}

  // `text` is UTF-8 and not empty; `place` names it in refusals. Throws Error(kBadInput) for an id that the model has
  // no row for, and whatever the encoder throws.
  void add(std::string text, std::string place);
  // The documents, in the order they were added; those without a token are left out.
  std::unique_ptr<DocumentStore> finish();

 private:
  void encode_pending();

  const DatasetOptions& options_;
  std::vector<std::string> texts_;   // with a model's tokenizer: those of the batch
  std::vector<std::string> places_;  // of these
  size_t pending_bytes_ = 0;
  std::unique_ptr<TextEncoder> encoder_;  // started by the first batch
  EncodedDocuments encoded_;
};

}  // namespace penstock
