#include <fmt/format.h>
#include <simdjson.h>

#include "core/error.h"
#include "data/document_files.h"
#include "data/line_reader.h"
#include "data/step_batch.h"

namespace penstock {
namespace {

static_assert(LineReader::kPaddingBytes >= simdjson::SIMDJSON_PADDING);

namespace dom = simdjson::dom;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

// The rows of one file.
class JsonlRows {
 public:
  JsonlRows(const std::string& path, const RowLimits& limits) : lines_(path), limits_(limits) {}

  void load(LoadedDocuments& documents) {
    std::optional<DocumentKind> kind;
    while (const std::optional<std::string_view> line = lines_.next()) {
      if (is_blank(*line)) continue;
      const dom::object row = parse(*line);
      if (!kind) {
        kind = kind_of(row);
        documents.require_kind(*kind, lines_.path());
      }
      if (*kind == DocumentKind::kText) {
        std::string text = text_of(row);
        if (!text.empty()) documents.texts.add(std::move(text), place());
      } else {
        PretokenizedRow tokens = tokens_of(row);
        if (!tokens.tokens.empty()) documents.rows.push_back(std::move(tokens));
      }
    }
  }

 private:
  std::string place() const { return fmt::format("{}:{}", lines_.path(), lines_.line_number()); }

  [[noreturn]] void refuse(const std::string& cause) const {
    throw Error(ExitCode::kBadInput, fmt::format("{}: {}", place(), cause));
  }

  // Valid until the next call.
  dom::object parse(std::string_view line) {
    dom::element root;
    constexpr bool kCopyFirst = false;  // the reader keeps the padding that the parser may read
    const simdjson::error_code error = parser_.parse(line.data(), line.size(), kCopyFirst).get(root);
    if (error) refuse(fmt::format("not valid JSON ({}): write one object per line", simdjson::error_message(error)));
    dom::object row;
    if (root.get(row)) refuse("the row is not an object: write {\"text\": ...} or {\"input_ids\": [...]}");
    return row;
  }

  DocumentKind kind_of(const dom::object& row) const {
    if (!row["input_ids"].error()) return DocumentKind::kPretokenized;
    if (!row["text"].error()) return DocumentKind::kText;
    refuse("the first row has neither \"text\" nor \"input_ids\": give every row one of them");
  }

  std::string text_of(const dom::object& row) const {
    dom::element field;
    if (row["text"].get(field)) refuse("the row has no \"text\", as the rows before: add it or drop the row");
    std::string_view text;
    if (field.get(text)) refuse("\"text\" is not a string: write the document as one JSON string");
    return std::string(text);
  }

  PretokenizedRow tokens_of(const dom::object& row) const {
    dom::element field;
    if (row["input_ids"].get(field))
      refuse("the row has no \"input_ids\", as the rows before: add them or drop the row");
    PretokenizedRow result;
    result.tokens = ids_of(field, "input_ids", false);
    if (std::ssize(result.tokens) > limits_.max_seq_len) {
      refuse(fmt::format("the row has {} tokens and dataset.max_seq_len is {}: raise it or split the row",
                         result.tokens.size(), limits_.max_seq_len));
    }
    if (row["labels"].get(field)) return result;
    result.labels = ids_of(field, "labels", true);
    if (result.labels.size() != result.tokens.size()) {
      refuse(fmt::format(
          "\"labels\" has {} entries and \"input_ids\" has {}: give every token one label (-100: untrained)",
          result.labels.size(), result.tokens.size()));
    }
    if (result.labels == result.tokens) result.labels.clear();
    return result;
  }

  std::vector<int32_t> ids_of(const dom::element& field, const char* name, bool ignored_allowed) const {
    dom::array array;
    if (field.get(array)) refuse(fmt::format("\"{}\" is not an array: write token ids in brackets", name));
    std::vector<int32_t> ids;
    ids.reserve(array.size());
    for (const dom::element element : array) {
      int64_t id = 0;
      if (element.get(id)) refuse(fmt::format("\"{}\"[{}] is not an integer: write token ids", name, ids.size()));
      const bool ignored = ignored_allowed && id == kIgnoredTarget;
      if (!ignored && (id < 0 || id >= limits_.vocab_size)) {
        refuse(fmt::format("\"{}\"[{}] is {}, outside the model's vocabulary of {}: use the model's own tokenizer",
                           name, ids.size(), id, limits_.vocab_size));
      }
      ids.push_back(static_cast<int32_t>(id));
    }
    return ids;
  }

  LineReader lines_;
  RowLimits limits_;
  dom::parser parser_;
};

}  // namespace

void load_jsonl_file(const std::string& path, const RowLimits& limits, LoadedDocuments& documents) {
  JsonlRows(path, limits).load(documents);
}

}  // namespace penstock
