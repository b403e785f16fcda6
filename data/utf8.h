// Checks that bytes are UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). Never repairs.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace penstock {

// The offset of the first byte that no valid character accounts for, or nothing when all of `text` is valid.
std::optional<size_t> first_invalid_utf8(std::string_view text);

}  // namespace penstock
