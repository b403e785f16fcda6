#include "model/safetensors_writer.h"

#include <algorithm>
#include <set>

#include "core/bytes.h"
#include "core/check.h"
#include "core/file.h"
#include "model/safetensors_header.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

// One write call's worth; a multiple of every element size.
constexpr uint64_t kBufferBytes = 4 * kMiB;

// Prefix and JSON, padded with spaces (the format allows them) up to the data's border.
std::string header_text(std::span<const SafetensorsSpec> tensors) {
  nlohmann::ordered_json root;
  root["__metadata__"] = {{"format", "pt"}};
  std::set<std::string> names;
  uint64_t offset = 0;
  for (const SafetensorsSpec& tensor : tensors) {
    CHECK(names.insert(tensor.name).second);
    const uint64_t end = offset + safetensors_bytes(tensor);
    root[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string json = root.dump();
  const uint64_t unpadded = kSafetensorsPrefixBytes + json.size();
  json.append(align_up(unpadded, kSafetensorsDataAlignment) - unpadded, ' ');
  const uint64_t header_bytes = json.size();
  CHECK_LE(header_bytes, kMaxSafetensorsHeaderBytes);
  return std::string(reinterpret_cast<const char*>(&header_bytes), kSafetensorsPrefixBytes) + json;
}

}  // namespace

uint64_t safetensors_bytes(const SafetensorsSpec& tensor) {
  uint64_t bytes = safetensors_element_bytes(tensor.dtype);
  CHECK_GT(bytes, 0u);
  for (int64_t extent : tensor.shape) {
    CHECK_GE(extent, 0);
    bytes = checked_multiply(bytes, static_cast<uint64_t>(extent), tensor.name.c_str());
  }
  return bytes;
}

void write_safetensors(const std::string& path, std::span<const SafetensorsSpec> tensors,
                       const TensorBytesSource& source) {
  OutputFile file(path);
  const std::string header = header_text(tensors);
  file.write(std::as_bytes(std::span(header)));
  std::vector<std::byte> buffer(kBufferBytes);
  for (size_t index = 0; index < tensors.size(); ++index) {
    const uint64_t total = safetensors_bytes(tensors[index]);
    for (uint64_t done = 0; done < total;) {
      const std::span<std::byte> piece = std::span(buffer).first(std::min(kBufferBytes, total - done));
      source(index, done / safetensors_element_bytes(tensors[index].dtype), piece);
      file.write(piece);
      done += piece.size();
    }
  }
  file.commit();
}

}  // namespace penstock
