#include "app/tokenizer_choice.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/byte_vocabulary.h"
#include "core/error.h"
#include "core/file.h"
#include "model/byte_tokenizer_files.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// The file that shows that the folder has a tokenizer, a slow one included; empty: none.
std::string tokenizer_file(const std::string& folder) {
  std::error_code error;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"}) {
    if (fs::exists(fs::path(folder) / name, error)) return name;
  }
  return "";
}

}  // namespace

bool folder_has_byte_tokenizer(const std::string& folder) {
  const fs::path path = fs::path(folder) / "tokenizer.json";
  const std::string expected = byte_tokenizer_json();
  std::error_code error;
  return fs::file_size(path, error) == expected.size() && !error &&
         read_text_file(path.string(), expected.size()) == expected;
}

Tokenizer choose_tokenizer(const RunConfig& config, const std::string& folder, int64_t vocab_size) {
  const Tokenizer asked = config.dataset.tokenizer;
  if (folder.empty()) return asked == Tokenizer::kAuto ? Tokenizer::kByte : asked;
  const std::string file = tokenizer_file(folder);
  const bool has_bytes = file.empty() ? vocab_size == kByteVocabularySize : folder_has_byte_tokenizer(folder);
  switch (asked) {
    case Tokenizer::kAuto:
      if (has_bytes) return Tokenizer::kByte;
      return file == "tokenizer.json" ? Tokenizer::kModel : Tokenizer::kNone;
    case Tokenizer::kByte:
      // New weights may read anything.
      if (file.empty() || has_bytes || config.model.train_from_scratch) return Tokenizer::kByte;
      throw Error(ExitCode::kBadInput,
                  fmt::format("dataset.tokenizer: byte, but {} has a tokenizer of its own ({}), and its weights know "
                              "no bytes; set model, or model.train_from_scratch: true for new weights",
                              folder, file));
    case Tokenizer::kModel:
      if (file == "tokenizer.json") return Tokenizer::kModel;
      throw Error(ExitCode::kBadInput,
                  fmt::format("dataset.tokenizer: model, but {} has no tokenizer.json; save it there once with "
                              "transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
                              folder));
    case Tokenizer::kNone:
      break;
  }
  return Tokenizer::kNone;
}

}  // namespace penstock
