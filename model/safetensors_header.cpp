#include "model/safetensors_header.h"

#include <algorithm>
#include <tuple>

#include "core/error.h"
#include "fmt/format.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

// Real tensors have up to five dimensions.
constexpr size_t kMaxRank = 16;
constexpr uint64_t kMaxElements = uint64_t{1} << 60;

struct StoredType {
  std::string_view name;
  uint64_t element_bytes;
};

// Sub-byte types (F4, F6) are not in the list: their ranges cannot be checked by whole bytes.
constexpr StoredType kStoredTypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
    {"F32", 4},  {"C64", 8}, {"F64", 8}, {"I64", 8},     {"U64", 8},
};

class HeaderReader {
 public:
  HeaderReader(uint64_t data_offset, uint64_t data_bytes, const std::string& path)
      : data_offset_(data_offset), data_bytes_(data_bytes), path_(path) {}

  SafetensorsEntry entry(const std::string& name, const json& value) const {
    SafetensorsEntry result;
    result.name = name;
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      refuse(name, "must be an object with exactly dtype, shape and data_offsets");
    }
    read_dtype(value["dtype"], result);
    read_shape(value["shape"], result);
    read_offsets(value["data_offsets"], result);
    return result;
  }

  void check_metadata(const json& value) const {
    if (!value.is_object()) refuse("__metadata__", "must be an object of strings");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) refuse("__metadata__", fmt::format("holds {} that is not a string", json_excerpt(key)));
    }
  }

  // Sorted entries must follow each other without gap or overlap and end where the file ends.
  void check_tiling(const std::vector<SafetensorsEntry>& entries) const {
    uint64_t expected = data_offset_;
    for (const SafetensorsEntry& entry : entries) {
      if (entry.file_offset != expected) {
        refuse(entry.name, fmt::format("starts at byte {} of the file where byte {} comes next ({})", entry.file_offset,
                                       expected, entry.file_offset > expected ? "a gap" : "an overlap"));
      }
      expected += entry.byte_count;
    }
    if (expected != data_offset_ + data_bytes_) {
      throw Error(ExitCode::kBadInput, fmt::format("{}: the tensors end at byte {} but the file has {} bytes", path_,
                                                   expected, data_offset_ + data_bytes_));
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& name, const std::string& cause) const {
    throw Error(ExitCode::kBadInput, fmt::format("{}: tensor {}: {}; the file is damaged or not safetensors", path_,
                                                 json_excerpt(name), cause));
  }

  void read_dtype(const json& value, SafetensorsEntry& entry) const {
    if (!value.is_string()) refuse(entry.name, "dtype must be a string");
    entry.dtype = value.get<std::string>();
    if (safetensors_element_bytes(entry.dtype) == 0) {
      refuse(entry.name, fmt::format("dtype {} is not supported", json_excerpt(value)));
    }
  }

  void read_shape(const json& value, SafetensorsEntry& entry) const {
    if (!value.is_array() || value.size() > kMaxRank) {
      refuse(entry.name, fmt::format("shape must be a list of at most {} extents", kMaxRank));
    }
    unsigned __int128 count = 1;
    bool is_empty = false;
    for (const json& extent : value) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() > kMaxElements) {
        refuse(entry.name, fmt::format("extent {} is not a sane integer", json_excerpt(extent)));
      }
      const uint64_t length = extent.get<uint64_t>();
      is_empty |= length == 0;
      count *= std::max<uint64_t>(length, 1);  // both factors stay below 2^61
      if (count > kMaxElements) refuse(entry.name, fmt::format("shape {} is absurdly large", json_excerpt(value)));
      entry.shape.push_back(static_cast<int64_t>(length));
    }
    entry.element_count = is_empty ? 0 : static_cast<uint64_t>(count);
  }

  void read_offsets(const json& value, SafetensorsEntry& entry) const {
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() || !value[1].is_number_unsigned()) {
      refuse(entry.name, "data_offsets must be two non-negative integers");
    }
    const uint64_t begin = value[0].get<uint64_t>();
    const uint64_t end = value[1].get<uint64_t>();
    if (begin > end || end > data_bytes_) {
      refuse(entry.name, fmt::format("data_offsets {} leave the file, which holds {} bytes of data (is it cut short?)",
                                     json_excerpt(value), data_bytes_));
    }
    const uint64_t expected = entry.element_count * safetensors_element_bytes(entry.dtype);  // at most 2^63
    if (end - begin != expected) {
      refuse(entry.name, fmt::format("data_offsets span {} bytes but shape {} of {} takes {}", end - begin,
                                     format_shape(entry.shape), entry.dtype, expected));
    }
    entry.file_offset = data_offset_ + begin;
    entry.byte_count = end - begin;
  }

  uint64_t data_offset_;
  uint64_t data_bytes_;
  const std::string& path_;
};

}  // namespace

uint64_t safetensors_element_bytes(std::string_view dtype) {
  for (const StoredType& type : kStoredTypes) {
    if (type.name == dtype) return type.element_bytes;
  }
  return 0;
}

std::string_view safetensors_dtype(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "F32";
    case DType::kBFloat16:
      return "BF16";
    case DType::kFloat16:
      return "F16";
  }
  return "?";
}

std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view text, uint64_t data_offset, uint64_t data_bytes,
                                                       const std::string& path) {
  const json root = parse_strict_json(text, path + ": header");
  if (!root.is_object()) throw Error(ExitCode::kBadInput, fmt::format("{}: the header is not a JSON object", path));
  const HeaderReader reader(data_offset, data_bytes, path);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : root.items()) {
    if (name == "__metadata__") {
      reader.check_metadata(value);
    } else {
      entries.push_back(reader.entry(name, value));
    }
  }
  // Empty tensors share their offset with the next one and come before it.
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.file_offset, a.byte_count, a.name) < std::tie(b.file_offset, b.byte_count, b.name);
  });
  reader.check_tiling(entries);
  return entries;
}

}  // namespace penstock
