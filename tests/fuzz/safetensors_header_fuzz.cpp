// The JSON header of a safetensors file. The first two bytes choose the length of the data behind it.
#include "fuzz_target.h"
#include "model/safetensors_header.h"

namespace penstock {

std::vector<std::string> fuzz_seeds() {
  const auto with_data = [](size_t bytes, const std::string& header) {
    return std::string{static_cast<char>(bytes & 255), static_cast<char>(bytes >> 8)} + header;
  };
  return {with_data(0, "{}"), with_data(8, R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}  )"),
          with_data(300, R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[50],"data_offsets":[0,100]},)"
                         R"("c":{"dtype":"I64","shape":[5,5],"data_offsets":[100,300]}})"),
          with_data(4, R"({"e":{"dtype":"U8","shape":[0,3],"data_offsets":[0,0]},)"
                       R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})"),
          with_data(8, R"({"a":{"dtype":"F32","shape":[-1,2],"data_offsets":[0,18446744073709551615]}})")};
}

}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 2) return 0;
  const uint64_t data_bytes = data[0] + uint64_t{256} * data[1];
  const std::string_view text(reinterpret_cast<const char*>(data + 2), size - 2);
  expect_value_or_error([&] {
    const uint64_t data_offset = 8 + text.size();
    uint64_t next = data_offset;
    for (const SafetensorsEntry& entry : parse_safetensors_header(text, data_offset, data_bytes, "file")) {
      CHECK_EQ(entry.file_offset, next);
      CHECK_EQ(entry.byte_count, entry.element_count * safetensors_element_bytes(entry.dtype));
      next += entry.byte_count;
    }
    CHECK_EQ(next, data_offset + data_bytes);
  });
  return 0;
}
