// The JSON header of a safetensors file: parsing with every check a hostile file calls for, and writing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "model/safetensors.h"

namespace penstock {

// The header's length comes first, as a little-endian 64-bit number.
inline constexpr uint64_t kSafetensorsPrefixBytes = 8;
// The limit of the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// Bytes an element of a safetensors dtype takes; 0 for a name that is not known.
uint64_t safetensors_element_bytes(std::string_view dtype);
std::string_view safetensors_dtype(DType dtype);

// `data_offset` is where the data region starts in the file, `data_bytes` its length. Entries come sorted by offset.
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view text, uint64_t data_offset, uint64_t data_bytes,
                                                       const std::string& path);

}  // namespace penstock
