#include "app/tokenizer_choice.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/byte_vocabulary.h"
#include "core/error.h"
#include "core/file.h"
#include "model/byte_tokenizer_files.h"
#include "model/folder_files.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// As our byte tokenizer has them; a model may have no padding.
bool names_byte_tokens(const ModelConfig& model) {
  return model.bos_token_id == kByteBos && model.eos_token_ids == std::vector<int64_t>{kByteEos} &&
         (model.pad_token_id == kBytePad || model.pad_token_id == -1);
}

// `file` is the folder's tokenizer, which is ours; empty: none, and ours is exported with the folder's config.json.
void require_bytes_fit(const std::string& folder, const std::string& file, const ModelConfig& model) {
  if (model.vocab_size < kByteVocabularySize) {
    throw Error(ExitCode::kBadInput,
                fmt::format("dataset.tokenizer: byte needs a vocabulary of {}, and that of {} is {}; set none and give "
                            "rows of token ids, or use a model with a larger one",
                            kByteVocabularySize, folder, model.vocab_size));
  }
  if (file.empty() && !names_byte_tokens(model)) {
    throw Error(ExitCode::kBadInput,
                fmt::format("dataset.tokenizer: byte, but {}/config.json names the special tokens of another "
                            "tokenizer; set bos_token_id {}, eos_token_id {} and pad_token_id {} there, or give the "
                            "shape by keys under `model`",
                            folder, kByteBos, kByteEos, kBytePad));
  }
}

}  // namespace

bool folder_has_byte_tokenizer(const std::string& folder) {
  const fs::path path = fs::path(folder) / "tokenizer.json";
  const std::string expected = byte_tokenizer_json();
  std::error_code error;
  return fs::file_size(path, error) == expected.size() && !error &&
         read_text_file(path.string(), expected.size()) == expected;
}

Tokenizer choose_tokenizer(const RunConfig& config, const std::string& folder, const ModelConfig& model) {
  const Tokenizer asked = config.dataset.tokenizer;
  if (folder.empty()) return asked == Tokenizer::kAuto ? Tokenizer::kByte : asked;
  const std::string file = tokenizer_file(folder);
  const bool has_bytes = file.empty() ? model.vocab_size == kByteVocabularySize && names_byte_tokens(model)
                                      : folder_has_byte_tokenizer(folder);
  switch (asked) {
    case Tokenizer::kAuto:
      if (has_bytes) require_bytes_fit(folder, file, model);
      if (has_bytes) return Tokenizer::kByte;
      return file == "tokenizer.json" ? Tokenizer::kModel : Tokenizer::kNone;
    case Tokenizer::kByte:
      if (!file.empty() && !has_bytes) {
        throw Error(ExitCode::kBadInput,
                    fmt::format("dataset.tokenizer: byte, but {} has a tokenizer of its own ({}), which goes with its "
                                "weights and with every export; set model, or give the shape of a new model by keys "
                                "under `model`",
                                folder, file));
      }
      require_bytes_fit(folder, file, model);
      return Tokenizer::kByte;
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
