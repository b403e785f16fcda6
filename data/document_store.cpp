#include "data/document_store.h"

#include <algorithm>

#include "core/check.h"
#include "data/byte_tokenizer.h"
#include "data/step_batch.h"

namespace penstock {
namespace {

void check_range(int64_t token_count, int64_t offset, std::span<int32_t> tokens, std::span<int32_t> targets) {
  CHECK_EQ(tokens.size(), targets.size());
  CHECK_GE(offset, 0);
  CHECK_LE(offset + std::ssize(tokens), token_count);
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

  int64_t target_bytes(std::span<const int32_t> targets) const override {
    return std::count_if(targets.begin(), targets.end(),
                         [](int32_t target) { return target >= 0 && target < kByteBos; });
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
  int64_t target_bytes(std::span<const int32_t>) const override { return 0; }

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

std::unique_ptr<DocumentStore> make_pretokenized_store(std::vector<PretokenizedRow> rows) {
  return std::make_unique<PretokenizedStore>(std::move(rows));
}

}  // namespace penstock
