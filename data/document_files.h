// Reads files into documents: text files whole, JSONL line by line. Decides what kind of documents they are, and that
// all of them are of one kind. Every refusal names file and line (or byte), the cause and the remedy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset_options.h"
#include "data/document_store.h"
#include "data/text_collector.h"

namespace penstock {

struct LoadedDocuments {
  // `options` outlives the documents.
  explicit LoadedDocuments(const DatasetOptions& options) : tokenizer(options.tokenizer), texts(options) {}

  Tokenizer tokenizer;
  std::optional<DocumentKind> kind;  // set by the first document
  std::string kind_path;             // the file that set it
  TextCollector texts;
  std::vector<PretokenizedRow> rows;

  // The first call fixes the kind; a later call with the other one throws Error(kBadInput) naming both files. So does
  // text without a tokenizer.
  void require_kind(DocumentKind other, const std::string& path);
};

// What a pre-tokenised row must keep to.
struct RowLimits {
  int64_t vocab_size;
  int64_t max_seq_len;
};

// One document, or none when the file is empty. Throws Error(kBadInput) at the first byte that is not UTF-8.
void load_text_file(const std::string& path, LoadedDocuments& documents);

// One document per line; blank lines and empty documents are skipped. The first row's fields tell the kind
// ("input_ids" goes before "text"), every other row must have the same.
void load_jsonl_file(const std::string& path, const RowLimits& limits, LoadedDocuments& documents);

// Every file of the entries, in the order of expand_paths. `key` is the configuration key of the entries. The store may
// be empty only when every file is.
std::unique_ptr<DocumentStore> load_documents(const std::vector<std::string>& entries, const char* key,
                                              const DatasetOptions& options);

}  // namespace penstock
