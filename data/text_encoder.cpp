#include "data/text_encoder.h"

#include <algorithm>
#include <utility>

#include "data/text_helper.h"

namespace penstock {
namespace {

class ModelEncoder final : public TextEncoder {
 public:
  ModelEncoder(const std::string& folder, std::vector<int32_t> eos_token_ids)
      : helper_(find_text_helper(), folder), ends_(std::move(eos_token_ids)) {
    if (helper_.facts().eos) ends_.insert(ends_.begin(), *helper_.facts().eos);
    const std::vector<int32_t>& stops = helper_.facts().stop_tokens;
    ends_.insert(ends_.end(), stops.begin(), stops.end());
  }

  std::vector<std::vector<int32_t>> encode_documents(std::span<const std::string> texts) override {
    std::vector<std::vector<int32_t>> documents = helper_.encode(texts, true);
    if (ends_.empty()) return documents;
    for (std::vector<int32_t>& ids : documents) {
      const bool ended = !ids.empty() && std::find(ends_.begin(), ends_.end(), ids.back()) != ends_.end();
      if (!ended) ids.push_back(ends_.front());
    }
    return documents;
  }

 private:
  TextHelper helper_;
  std::vector<int32_t> ends_;  // the one that is added first
};

}  // namespace

std::unique_ptr<TextEncoder> start_model_encoder(const std::string& folder, std::vector<int32_t> eos_token_ids) {
  return std::make_unique<ModelEncoder>(folder, std::move(eos_token_ids));
}

}  // namespace penstock
