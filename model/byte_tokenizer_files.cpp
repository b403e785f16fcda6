#include "model/byte_tokenizer_files.h"

#include <array>

#include "core/byte_vocabulary.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::ordered_json;

constexpr const char* kBos = "<|bos|>";
constexpr const char* kEos = "<|eos|>";
constexpr const char* kPad = "<|pad|>";

std::string utf8_from_code_point(uint32_t code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// The visible character that stands for each byte in ByteLevel vocabularies (GPT-2's alphabet): printable Latin-1
// stands for itself, the rest takes the code points from 256 on in byte order.
std::array<std::string, 256> byte_level_alphabet() {
  std::array<std::string, 256> alphabet;
  uint32_t next_stand_in = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    alphabet[byte] = utf8_from_code_point(is_printable ? byte : next_stand_in++);
  }
  return alphabet;
}

ordered_json special_token(int64_t id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

ordered_json bos_then(const char* sequence, int type) {
  return ordered_json::array(
      {{{"SpecialToken", {{"id", kBos}, {"type_id", type}}}}, {{"Sequence", {{"id", sequence}, {"type_id", type}}}}});
}

ordered_json bos_in_front() {
  ordered_json pair = bos_then("A", 0);
  for (ordered_json& piece : bos_then("B", 1)) pair.push_back(std::move(piece));
  const ordered_json bos = {
      {"id", kBos}, {"ids", ordered_json::array({kByteBos})}, {"tokens", ordered_json::array({kBos})}};
  return {{"type", "TemplateProcessing"},
          {"single", bos_then("A", 0)},
          {"pair", std::move(pair)},
          {"special_tokens", {{kBos, bos}}}};
}

}  // namespace

std::string byte_tokenizer_json() {
  ordered_json vocabulary = ordered_json::object();
  const std::array<std::string, 256> alphabet = byte_level_alphabet();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) vocabulary[alphabet[byte]] = byte;
  const ordered_json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  ordered_json root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] =
      ordered_json::array({special_token(kByteBos, kBos), special_token(kByteEos, kEos),
                           special_token(kBytePad, kPad)});
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = byte_level;
  root["post_processor"] = bos_in_front();
  root["decoder"] = byte_level;
  // Without merges every byte stays a token of its own.
  root["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", std::move(vocabulary)},
                   {"merges", ordered_json::array()}};
  return root.dump(1) + '\n';
}

std::string byte_tokenizer_config_json(int64_t max_position_embeddings) {
  const ordered_json root = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                             {"bos_token", kBos},
                             {"eos_token", kEos},
                             {"pad_token", kPad},
                             {"model_max_length", max_position_embeddings},
                             {"clean_up_tokenization_spaces", false},
                             {"split_special_tokens", true}};
  return root.dump(2) + '\n';
}

}  // namespace penstock
