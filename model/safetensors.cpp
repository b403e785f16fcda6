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

namespace penstock {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and so is this code");

// Elements converted at a time: a bounded buffer on the stack.
constexpr size_t kChunkElements = 32 * 1024;

float float_from_half(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, exact in fp32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide_exponent = exponent == 0x1fu ? 0xffu : exponent + 112u;  // bias 15 to 127
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (fraction << 13));
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
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: tensor {} is {}; convert it to F32, BF16 or F16", path(), entry.name, entry.dtype));
  }
  std::array<uint16_t, kChunkElements> halves;
  for (size_t done = 0; done < out.size();) {
    const size_t count = std::min(kChunkElements, out.size() - done);
    read_bytes(entry, (first_element + done) * sizeof(uint16_t),
               std::as_writable_bytes(std::span(halves).first(count)));
    const auto convert = entry.dtype == "BF16" ? float_from_bf16 : float_from_half;
    for (size_t i = 0; i < count; ++i) out[done + i] = convert(halves[i]);
    done += count;
  }
}

std::string format_shape(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace penstock
