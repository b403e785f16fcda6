#include "data/document_files.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "data/byte_tokenizer.h"
#include "data/file_list.h"
#include "data/utf8.h"

namespace penstock {
namespace {

std::string_view kind_name(DocumentKind kind) { return kind == DocumentKind::kText ? "text" : "pre-tokenised rows"; }

// The ending decides for kAuto. JSON that is not JSONL is refused: nobody means to train on its brackets.
DatasetFormat format_of(const std::string& path, DatasetFormat asked) {
  if (asked != DatasetFormat::kAuto) return asked;
  const std::string ending = std::filesystem::path(path).extension().string();
  if (ending == ".jsonl" || ending == ".ndjson") return DatasetFormat::kJsonl;
  if (ending == ".json") {
    throw Error(ExitCode::kBadInput, fmt::format("{}: a .json file is read in no format by itself: set "
                                                 "dataset.format=jsonl (one object per line) or text (its bytes)",
                                                 path));
  }
  return DatasetFormat::kText;
}

}  // namespace

void LoadedDocuments::require_kind(DocumentKind other, const std::string& path) {
  CHECK(tokenizer != Tokenizer::kAuto);
  if (other == DocumentKind::kText && tokenizer == Tokenizer::kNone) {
    throw Error(
        ExitCode::kBadInput,
        fmt::format("{} holds text, and there is no tokenizer for it (dataset.tokenizer is none): give rows with "
                    "\"input_ids\", or a model folder that has its tokenizer.json",
                    path));
  }
  if (!kind) {
    kind = other;
    kind_path = path;
  }
  if (*kind == other) return;
  throw Error(ExitCode::kBadInput,
              fmt::format("{} holds {}, but {} holds {}: a data set is of one kind, name one of them", path,
                          kind_name(other), kind_path, kind_name(*kind)));
}

void load_text_file(const std::string& path, LoadedDocuments& documents) {
  std::string text = read_text_file(path, UINT64_MAX);
  if (text.empty()) return;
  if (const std::optional<size_t> offset = first_invalid_utf8(text)) {
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: byte {} (0x{:02x}) is not UTF-8: convert the file to UTF-8 or leave it out", path,
                            *offset, static_cast<unsigned char>(text[*offset])));
  }
  documents.require_kind(DocumentKind::kText, path);
  documents.texts.add(std::move(text), path);
}

std::unique_ptr<DocumentStore> load_documents(const std::vector<std::string>& entries, const char* key,
                                              const DatasetOptions& options) {
  LoadedDocuments documents(options);
  const RowLimits limits{.vocab_size = options.vocab_size, .max_seq_len = options.max_seq_len};
  for (const std::string& path : expand_paths(entries, key)) {
    if (format_of(path, options.format) == DatasetFormat::kText) {
      load_text_file(path, documents);
    } else {
      load_jsonl_file(path, limits, documents);
    }
  }
  if (documents.kind == DocumentKind::kPretokenized) return make_pretokenized_store(std::move(documents.rows));
  const bool bytes = documents.kind && options.tokenizer == Tokenizer::kByte;
  if (bytes && options.vocab_size < kByteVocabularySize) {
    throw Error(
        ExitCode::kBadInput,
        fmt::format("{} is text, which needs a vocabulary of {} (bytes and specials), and the model's is {}: use "
                    "a model with a larger one or give pre-tokenised rows",
                    documents.kind_path, kByteVocabularySize, options.vocab_size));
  }
  return documents.texts.finish();
}

}  // namespace penstock
