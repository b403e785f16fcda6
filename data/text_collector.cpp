#include "data/text_collector.h"

#include <fmt/format.h>

#include <utility>

#include "core/check.h"
#include "core/error.h"

namespace penstock {

void TextCollector::add(std::string text, std::string place) {
  CHECK(!text.empty());
  pending_bytes_ += text.size();
  texts_.push_back(std::move(text));
  if (options_.tokenizer == Tokenizer::kByte) return;
  places_.push_back(std::move(place));
  if (pending_bytes_ >= kBatchBytes || texts_.size() >= kBatchDocuments) encode_pending();
}

void TextCollector::encode_pending() {
  if (!encoder_) encoder_ = options_.start_encoder();
  const std::vector<std::vector<int32_t>> documents = encoder_->encode_documents(texts_);
  CHECK_EQ(documents.size(), texts_.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    for (const int32_t id : documents[i]) {
      if (id < options_.vocab_size) continue;
      throw Error(ExitCode::kBadInput,
                  fmt::format("{}: the tokenizer makes id {} of it, outside the model's vocabulary "
                              "of {}: use the tokenizer that belongs to the model",
                              places_[i], id, options_.vocab_size));
    }
    if (!documents[i].empty()) encoded_.append(documents[i], std::ssize(texts_[i]));
  }
  texts_.clear();
  places_.clear();
  pending_bytes_ = 0;
}

std::unique_ptr<DocumentStore> TextCollector::finish() {
  if (options_.tokenizer == Tokenizer::kByte) return make_text_store(std::move(texts_));
  if (!texts_.empty()) encode_pending();
  return make_encoded_store(std::move(encoded_));
}

}  // namespace penstock
