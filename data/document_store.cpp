#include "data/document_store.h"

#include <algorithm>

#include "core/check.h"
#include "data/byte_tokenizer.h"
#include "data/step_batch.h"

namespace penstock {
namespace {

void check_range(int64_t token_count, int64_t offset, int64_t count) {
  CHECK_GE(offset, 0);
  CHECK_GE(count, 0);
  CHECK_LE(offset + count, token_count);
}

void check_range(int64_t token_count, int64_t offset, std::span<int32_t> tokens, std::span<int32_t> targets) {
  CHECK_EQ(tokens.size(), targets.size());
  check_range(token_count, offset, std::ssize(tokens));
}

class TextStore final : public DocumentStore {
 public:
  explicit TextStore(std::vector<std::string> documents) : documents_(std::move(documents)) {
    for (const std::string& document : documents_) CHECK(!document.empty());
  }

  DocumentKind kind() const override { return DocumentKind::kText; }
  int64_t document_count() const override { return std::ssize(documents_); }
  int64_t token_count(int64_t document) const override { return std::ssize(text(document)) + 2; }
  int32_t padding_token() const override { return kBytePad; }

  // Token i has byte i as target, as long as there is one.
  int64_t target_bytes(int64_t document, int64_t offset, int64_t count) const override {
    check_range(token_count(document), offset, count);
    const int64_t bytes = std::ssize(text(document));
    return std::min(offset + count, bytes) - std::min(offset, bytes);
  }

  void read(int64_t document, int64_t offset, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const std::string& bytes = text(document);
    const int64_t count = token_count(document);
    check_range(count, offset, tokens, targets);
    if (tokens.empty()) return;
    for (int64_t i = 0; i < std::ssize(tokens); ++i) tokens[i] = token_at(bytes, offset + i);
    std::copy(tokens.begin() + 1, tokens.end(), targets.begin());
    const int64_t end = offset + std::ssize(tokens);
    targets.back() = end < count ? token_at(bytes, end) : kIgnoredTarget;
  }

 private:
  const std::string& text(int64_t document) const {
    CHECK_GE(document, 0);
    CHECK_LT(document, document_count());
    return documents_[static_cast<size_t>(document)];
  }

  static int32_t token_at(const std::string& bytes, int64_t position) {
    if (position == 0) return kByteBos;
    if (position > std::ssize(bytes)) return kByteEos;
    return static_cast<unsigned char>(bytes[static_cast<size_t>(position - 1)]);
  }

  std::vector<std::string> documents_;
};

class EncodedStore final : public DocumentStore {
 public:
  explicit EncodedStore(EncodedDocuments documents) : documents_(std::move(documents)) {
    CHECK_EQ(documents_.starts.size(), documents_.text_bytes.size() + 1);
    CHECK_EQ(documents_.starts.back(), std::ssize(documents_.tokens));
  }

  DocumentKind kind() const override { return DocumentKind::kText; }
  int64_t document_count() const override { return std::ssize(documents_.text_bytes); }
  int64_t token_count(int64_t document) const override { return std::ssize(ids(document)); }
  int32_t padding_token() const override { return 0; }

  // Rounded so that any cut of the document adds up to the same.
  int64_t target_bytes(int64_t document, int64_t offset, int64_t count) const override {
    check_range(token_count(document), offset, count);
    const int64_t target_count = token_count(document) - 1;
    if (target_count == 0) return 0;
    const auto bytes_before = [&](int64_t target) {
      const auto all = static_cast<__int128>(documents_.text_bytes[static_cast<size_t>(document)]);
      return static_cast<int64_t>(all * std::min(target, target_count) / target_count);
    };
    return bytes_before(offset + count) - bytes_before(offset);
  }

  void read(int64_t document, int64_t offset, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const std::span<const int32_t> from = ids(document);
    check_range(std::ssize(from), offset, tokens, targets);
    if (tokens.empty()) return;
    const auto begin = from.begin() + offset;
    std::copy_n(begin, tokens.size(), tokens.begin());
    std::copy(tokens.begin() + 1, tokens.end(), targets.begin());
    const int64_t end = offset + std::ssize(tokens);
    targets.back() = end < std::ssize(from) ? from[static_cast<size_t>(end)] : kIgnoredTarget;
  }

 private:
  std::span<const int32_t> ids(int64_t document) const {
    CHECK_GE(document, 0);
    CHECK_LT(document, document_count());
    const int64_t begin = documents_.starts[static_cast<size_t>(document)];
    const int64_t end = documents_.starts[static_cast<size_t>(document) + 1];
    return std::span(documents_.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }

  EncodedDocuments documents_;
};

class PretokenizedStore final : public DocumentStore {
 public:
  explicit PretokenizedStore(std::vector<PretokenizedRow> rows) : rows_(std::move(rows)) {
    for (const PretokenizedRow& row : rows_) {
      CHECK(!row.tokens.empty());
      CHECK(row.labels.empty() || row.labels.size() == row.tokens.size());
    }
  }

  DocumentKind kind() const override { return DocumentKind::kPretokenized; }
  int64_t document_count() const override { return std::ssize(rows_); }
  int64_t token_count(int64_t document) const override { return std::ssize(row(document).tokens); }
  int32_t padding_token() const override { return 0; }
  int64_t target_bytes(int64_t, int64_t, int64_t) const override { return 0; }

  void read(int64_t document, int64_t offset, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const PretokenizedRow& from = row(document);
    const std::vector<int32_t>& labels = from.labels.empty() ? from.tokens : from.labels;
    const int64_t count = std::ssize(from.tokens);
    check_range(count, offset, tokens, targets);
    for (int64_t i = 0; i < std::ssize(tokens); ++i) {
      const int64_t position = offset + i;
      tokens[i] = from.tokens[static_cast<size_t>(position)];
      // labels[i] is predicted from position i - 1: the shift that Hugging Face's models do inside.
      targets[i] = position + 1 < count ? labels[static_cast<size_t>(position + 1)] : kIgnoredTarget;
    }
  }

 private:
  const PretokenizedRow& row(int64_t document) const {
    CHECK_GE(document, 0);
    CHECK_LT(document, document_count());
    return rows_[static_cast<size_t>(document)];
  }

  std::vector<PretokenizedRow> rows_;
};

}  // namespace

std::unique_ptr<DocumentStore> make_text_store(std::vector<std::string> documents) {
  return std::make_unique<TextStore>(std::move(documents));
}

void EncodedDocuments::append(std::span<const int32_t> ids, int64_t bytes) {
  CHECK(!ids.empty());
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  starts.push_back(std::ssize(tokens));
  text_bytes.push_back(bytes);
}

std::unique_ptr<DocumentStore> make_encoded_store(EncodedDocuments documents) {
  return std::make_unique<EncodedStore>(std::move(documents));
}

std::unique_ptr<DocumentStore> make_pretokenized_store(std::vector<PretokenizedRow> rows) {
  return std::make_unique<PretokenizedStore>(std::move(rows));
}

}  // namespace penstock
