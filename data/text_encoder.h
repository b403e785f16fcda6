// Turns documents of text into token ids, as a model's own tokenizer does.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock {

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;

  // The ids of every text, in order: what the tokenizer adds by itself (a BOS, where the model wants one), and an EOS
  // at the end where it adds none. Ids are at least 0. The texts are UTF-8. Throws Error.
  virtual std::vector<std::vector<int32_t>> encode_documents(std::span<const std::string> texts) = 0;
};

// By the tokenizer of a Hugging Face folder, in a process that is started here. An EOS is the tokenizer's own, else the
// first of `eos_token_ids` (the model's); where both are missing, documents end without one. Throws Error.
std::unique_ptr<TextEncoder> start_model_encoder(const std::string& folder, std::vector<int32_t> eos_token_ids);

}  // namespace penstock
