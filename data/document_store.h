// The documents of a data set, in host memory. Not an order and not rows: shuffling is data/shuffle.h, rows are
// data/packing.h. Immutable after loading, so any number of threads may read.
//
// Two kinds. Of text every token but the last has the next one as target; it is kept as bytes (1 B a token), whose
// tokens are BOS, the bytes, EOS, or as the ids of a model's tokenizer (4 B a token). Pre-tokenised rows come with
// their tokens and, where given, labels. Invariants: every document has at least one token; the last token of a
// document has no target.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock {

enum class DocumentKind : uint8_t {
  kText,          // may be cut and continued in the next row
  kPretokenized,  // a row of the user's making: never cut
};

class DocumentStore {
 public:
  virtual ~DocumentStore() = default;

  virtual DocumentKind kind() const = 0;
  virtual int64_t document_count() const = 0;
  virtual int64_t token_count(int64_t document) const = 0;
  // Copies tokens [offset, offset + tokens.size()) of the document and their targets (shifted: what each must predict,
  // or kIgnoredTarget). Both spans have one size; CHECKs that the range lies in the document.
  virtual void read(int64_t document, int64_t offset, std::span<int32_t> tokens, std::span<int32_t> targets) const = 0;
  // What fills the rest of a row.
  virtual int32_t padding_token() const = 0;
  // Bytes of text that the targets of tokens [offset, offset + count) stand for; over a document they add up to its
  // text. A token of a model's tokenizer counts as the document's average. 0 for pre-tokenised rows.
  virtual int64_t target_bytes(int64_t document, int64_t offset, int64_t count) const = 0;
};

// `documents` hold UTF-8, none is empty.
std::unique_ptr<DocumentStore> make_text_store(std::vector<std::string> documents);

// Documents as ids, one after the other.
struct EncodedDocuments {
  std::vector<int32_t> tokens;
  std::vector<int64_t> starts = {0};  // in `tokens`; ends with their count
  std::vector<int64_t> text_bytes;

  void append(std::span<const int32_t> ids, int64_t bytes);
};

// None is empty.
std::unique_ptr<DocumentStore> make_encoded_store(EncodedDocuments documents);

struct PretokenizedRow {
  std::vector<int32_t> tokens;
  std::vector<int32_t> labels;  // as Hugging Face's: aligned with tokens, -100 untrained; empty: the tokens themselves
};

// No row is empty; labels are empty or as many as tokens (CHECKed).
std::unique_ptr<DocumentStore> make_pretokenized_store(std::vector<PretokenizedRow> rows);

}  // namespace penstock
