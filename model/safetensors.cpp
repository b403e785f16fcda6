#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "core/bf16.h"
#include "core/check.h"
#include "core/error.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/safetensors_header.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and so is this code");

// Elements converted at a time: a bounded buffer on the stack.
constexpr size_t kChunkElements = 32 * 1024;

// Without branches, so that the loop over it vectorises.
inline float float_from_half(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  // Zero or subnormal: fraction * 2^-24, exact in fp32 and never subnormal there (the thread may flush those).
  const uint32_t small = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t rebias = magnitude >= 0x7c00u ? 224u << 23 : 112u << 23;  // 15 to 127; all ones stay all ones
  const uint32_t normal = (magnitude << 13) + rebias;
  return std::bit_cast<float>(sign | (magnitude < 0x400u ? small : normal));
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  if (file_.size_bytes() < kSafetensorsPrefixBytes) {
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: has {} bytes, too few for a safetensors file", path, file_.size_bytes()));
  }
  uint64_t header_bytes = 0;
  file_.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const uint64_t rest = file_.size_bytes() - kSafetensorsPrefixBytes;
  if (header_bytes > kMaxSafetensorsHeaderBytes || header_bytes > rest) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: claims a header of {} bytes in a file of {} (limit {}); it is "
                                                 "damaged or not safetensors",
                                                 path, header_bytes, file_.size_bytes(), kMaxSafetensorsHeaderBytes));
  }
  std::string header(header_bytes, '\0');
  file_.read(kSafetensorsPrefixBytes, std::as_writable_bytes(std::span(header)));
  entries_ = parse_safetensors_header(header, kSafetensorsPrefixBytes + header_bytes, rest - header_bytes, path);
  for (size_t i = 0; i < entries_.size(); ++i) index_of_name_.emplace(entries_[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_of_name_.find(name);
  return found == index_of_name_.end() ? nullptr : &entries_[found->second];
}

void SafetensorsFile::read_bytes(const SafetensorsEntry& entry, uint64_t first_byte, std::span<std::byte> out) const {
  CHECK_LE(first_byte, entry.byte_count);
  CHECK_LE(out.size(), entry.byte_count - first_byte);
  file_.read(entry.file_offset + first_byte, out);
}

void SafetensorsFile::read_floats(const SafetensorsEntry& entry, uint64_t first_element, std::span<float> out) const {
  CHECK_LE(first_element, entry.element_count);
  CHECK_LE(out.size(), entry.element_count - first_element);
  if (entry.dtype == "F32") {
    read_bytes(entry, first_element * sizeof(float), std::as_writable_bytes(out));
    return;
  }
  if (entry.dtype != "BF16" && entry.dtype != "F16") {
    throw Error(ExitCode::kBadInput, fmt::format("{}: tensor {} is {}; convert it to F32, BF16 or F16", path(),
                                                 printable_name(entry.name), entry.dtype));
  }
  std::array<uint16_t, kChunkElements> halves;
  for (size_t done = 0; done < out.size();) {
    const size_t count = std::min(kChunkElements, out.size() - done);
    read_bytes(entry, (first_element + done) * sizeof(uint16_t),
               std::as_writable_bytes(std::span(halves).first(count)));
    float* to = out.data() + done;
    if (entry.dtype == "BF16") {
      for (size_t i = 0; i < count; ++i) to[i] = float_from_bf16(halves[i]);
    } else {
      for (size_t i = 0; i < count; ++i) to[i] = float_from_half(halves[i]);
    }
    done += count;
  }
}

std::string format_shape(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace penstock
