// The built-in tokenizer: one token per byte of UTF-8, and three specials. Not a vocabulary to be trained or loaded.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/byte_vocabulary.h"

namespace penstock {

// The bytes of `text` as ids 0..255; specials are the caller's to add.
std::vector<int32_t> encode_bytes(std::string_view text);

// The bytes behind `tokens`; ids of 256 and above are skipped. Raw: cut tokens can cut a UTF-8 character.
std::string decode_bytes(std::span<const int32_t> tokens);

}  // namespace penstock
