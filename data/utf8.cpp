#include "data/utf8.h"

#include <simdjson.h>

#include <cstdint>

#include "core/check.h"

namespace penstock {
namespace {

struct CharacterForm {
  size_t byte_count;      // 0: this lead byte starts no character
  uint8_t second_lowest;  // range of the second byte; it is what rules out overlong forms and surrogates
  uint8_t second_highest;
};

// Table 3-7 of the Unicode Standard.
CharacterForm form_of(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xc2) return {0, 0, 0};
  if (lead < 0xe0) return {2, 0x80, 0xbf};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};
  if (lead < 0xf0) return {3, 0x80, 0xbf};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead < 0xf4) return {4, 0x80, 0xbf};
  if (lead == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

bool valid_character(std::string_view text, const CharacterForm& form) {
  if (form.byte_count == 0 || form.byte_count > text.size()) return false;
  for (size_t i = 1; i < form.byte_count; ++i) {
    const uint8_t byte = static_cast<uint8_t>(text[i]);
    const uint8_t lowest = i == 1 ? form.second_lowest : 0x80;
    const uint8_t highest = i == 1 ? form.second_highest : 0xbf;
    if (byte < lowest || byte > highest) return false;
  }
  return true;
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::nullopt;  // the fast answer; the rest only locates
  size_t offset = 0;
  while (offset < text.size()) {
    const CharacterForm form = form_of(static_cast<uint8_t>(text[offset]));
    if (!valid_character(text.substr(offset), form)) break;
    offset += form.byte_count;
  }
  CHECK_LT(offset, text.size());
  return offset;
}

std::string with_replacement_characters(std::string_view text) {
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  std::string valid;
  while (const std::optional<size_t> offset = first_invalid_utf8(text)) {
    valid.append(text.substr(0, *offset)).append(kReplacement);
    text.remove_prefix(*offset + 1);
  }
  return valid.append(text);
}

}  // namespace penstock
