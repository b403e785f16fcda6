// Writes one safetensors file through a bounded buffer: the header is computed from shapes alone, then the tensors
// follow in the given order. The data starts on a 4096-byte border, so that it can be read by direct I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace penstock {

struct SafetensorsSpec {
  std::string name;
  std::string dtype = "F32";   // as the format spells it; any that safetensors_element_bytes() knows
  std::vector<int64_t> shape;  // extents may be 0
};

// Fills `out` with the bytes of tensor `index` (in the file's dtype) from `first_element` on; called in file order.
using TensorBytesSource = std::function<void(size_t index, uint64_t first_element, std::span<std::byte> out)>;

inline constexpr uint64_t kSafetensorsDataAlignment = 4096;

// Bytes of the tensor's data; throws Error(kBadInput) when they overflow.
uint64_t safetensors_bytes(const SafetensorsSpec& tensor);

// Durable when it returns: written under a temporary name, fsynced, renamed, the directory fsynced. Nothing stays
// behind when it throws: Error(kIo), or whatever `source` throws. CHECKs unique names and known dtypes.
void write_safetensors(const std::string& path, std::span<const SafetensorsSpec> tensors,
                       const TensorBytesSource& source);

}  // namespace penstock
