// model.safetensors.index.json.
#include "fuzz_target.h"
#include "model/folder_files.h"
#include "model/weight_index.h"

namespace penstock {

std::vector<std::string> fuzz_seeds() {
  return {R"({"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"x.safetensors"}})",
          R"({"weight_map":{}})", R"({"weight_map":{"a":"../x.safetensors"}})",
          R"({"weight_map":{"a":"x\u0000.safetensors","\n":7}})"};
}

}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  expect_value_or_error([&] {
    const WeightMap files = parse_weight_index(text, "index");
    CHECK(!files.empty());
    for (const auto& [tensor, file] : files) CHECK(is_plain_name(file) && file.ends_with(".safetensors"));
    CHECK(parse_weight_index(weight_index_text(files, 1), "index") == files);
  });
  return 0;
}
