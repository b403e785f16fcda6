// A model's own tokenizer, run by scripts/text_helper.py in a process of its own (the protocol is described there).
// Not for training steps: text becomes ids before the first one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/line_process.h"

namespace penstock {

// A Python that has `tokenizers`, and the script.
struct HelperCommand {
  std::string python;
  std::string script;
};

// The script is PENSTOCK_TEXT_HELPER, or scripts/text_helper.py in a folder above this program. Python is
// PENSTOCK_PYTHON, or .venv/bin/python beside scripts/, or python3 in PATH. Throws Error(kBadInput) without a script.
HelperCommand find_text_helper();

struct TokenizerFacts {
  int64_t vocabulary_size = 0;  // added tokens included; the model may have more rows
  std::optional<int32_t> bos;   // by the tokenizer's own files
  std::optional<int32_t> eos;
  std::vector<int32_t> stop_tokens;  // of generation_config.json
};

// Ids the helper gives are at least 0; whether they are below the model's vocabulary is the caller's to check. A helper
// that dies or does not keep to the protocol is Error(kIo), what it says about its input Error(kBadInput).
class TextHelper {
 public:
  // Starts the helper and waits until it has read `folder`/tokenizer.json.
  TextHelper(const HelperCommand& command, const std::string& folder);

  const TokenizerFacts& facts() const { return facts_; }

  // The ids of every text, in order, with what the tokenizer adds by itself if `special_tokens`. The texts are UTF-8.
  std::vector<std::vector<int32_t>> encode(std::span<const std::string> texts, bool special_tokens);

  // The text that `ids` add to that of `after`.
  std::string decode(std::span<const int32_t> ids, std::span<const int32_t> after, bool skip_special_tokens);

 private:
  class Answers;
  void ask(std::string_view request);

  std::string folder_;
  LineProcess process_;
  TokenizerFacts facts_;
};

}  // namespace penstock
