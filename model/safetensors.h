// Reader of one safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes.
// Not a folder (model/hf_folder.h) and not a cache: every read goes to the file. The header is checked in full when the
// file is opened; after that every entry's range lies inside the file and the ranges tile the data exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace penstock {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as the file spells it, e.g. "BF16"
  std::vector<int64_t> shape;  // empty for a scalar
  uint64_t element_count = 0;
  uint64_t file_offset = 0;  // of the first byte, from the start of the file
  uint64_t byte_count = 0;
};

class SafetensorsFile {
 public:
  // Throws Error(kBadInput) that names file, tensor and cause for anything a well-formed file cannot contain.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  // In the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  // nullptr when there is no such tensor.
  const SafetensorsEntry* find(std::string_view name) const;

  // Raw bytes from `first_byte` of the tensor; CHECKs that the range lies inside it.
  void read_bytes(const SafetensorsEntry& entry, uint64_t first_byte, std::span<std::byte> out) const;
  // Elements from `first_element` as fp32, exact for F32, BF16 and F16; Error(kBadInput) for any other dtype.
  void read_floats(const SafetensorsEntry& entry, uint64_t first_element, std::span<float> out) const;

 private:
  InputFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, size_t, std::less<>> index_of_name_;
};

// "[2, 3]", for messages.
std::string format_shape(std::span<const int64_t> shape);

}  // namespace penstock
