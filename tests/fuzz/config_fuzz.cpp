// config.json: reading, and patching what has been read.
#include "fuzz_target.h"
#include "model/config_json.h"

namespace penstock {

std::vector<std::string> fuzz_seeds() {
  const std::string shape =
      R"("vocab_size":37,"hidden_size":24,"intermediate_size":44,"num_hidden_layers":2,"num_attention_heads":3,)"
      R"("num_key_value_heads":1,"max_position_embeddings":64,"rms_norm_eps":1e-05,"hidden_act":"silu")";
  std::vector<std::string> seeds;
  for (const char* type : {"llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma"}) {
    seeds.push_back(std::string(R"({"model_type":")") + type + "\"," + shape + "}");
  }
  seeds.push_back(
      "{\"model_type\":\"llama\",\n  \"torch_dtype\":\"float16\",\"tie_word_embeddings\":true,"
      "\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
      "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}," +
      shape + "}");
  seeds.push_back(
      "{\"model_type\":\"qwen3\",\"dtype\":\"bfloat16\",\"head_dim\":8,\"use_sliding_window\":true,"
      "\"sliding_window\":4,\"max_window_layers\":1,\"layer_types\":[\"full_attention\",\"sliding_attention\"],"
      "\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":1e4,\"factor\":4,"
      "\"original_max_position_embeddings\":16}," +
      shape + "}");
  seeds.push_back("{\"model_type\":\"llava\",\"text_config\":" + seeds[1] + ",\"vision_config\":{\"hidden_size\":7}}");
  return seeds;
}

}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  expect_value_or_error([&] { has_text_config(text, "config.json"); });
  expect_value_or_error([&] {
    const ModelConfig config = parse_config_json(text, "config.json");
    validate(config);
    const std::string patched = patch_config_json(text, "config.json", DType::kFloat32);
    CHECK(parse_config_json(patched, "config.json") == config);
    CHECK(patch_config_json(patched, "config.json", DType::kFloat32) == patched);
  });
  return 0;
}
