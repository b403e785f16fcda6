// Checks that bytes are UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). Input is never repaired; generated
// text is made printable.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

// The offset of the first byte that no valid character accounts for, or nothing when all of `text` is valid.
std::optional<size_t> first_invalid_utf8(std::string_view text);

// `text` with U+FFFD for every byte that belongs to no valid character: what a terminal can show of sampled bytes.
std::string with_replacement_characters(std::string_view text);

}  // namespace penstock
