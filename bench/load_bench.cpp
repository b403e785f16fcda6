// How fast are a folder's weights in the model's memory? `load_bench FOLDER [readers]` loads it once into fresh wire
// weights (first touch included) and prints bytes and seconds; bench/load_bench.py runs it beside its peers.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "core/float_mode.h"
#include "model/hf_folder.h"
#include "streaming/weight_loader.h"

int main(int argc, char** argv) {
  using namespace penstock;
  if (argc < 2) {
    std::fprintf(stderr, "usage: load_bench FOLDER [readers]\n");
    return 64;
  }
  set_flush_denormals();
  try {
    const RunShape shape = {.model = load_model_config(argv[1]), .format = StateFormat::kExact};
    const std::vector<LayerLayout> layouts = layer_layouts(shape.model);
    BufferTable buffers;
    for (size_t layer = 0; layer < layouts.size(); ++layer) {
      const uint64_t bytes = layouts[layer].slab_bytes(dtype_bytes(DType::kBFloat16));
      if (bytes > 0) buffers.add({.kind = BufferKind::kHostWire, .index = static_cast<int>(layer), .bytes = bytes});
    }
    ModelMemory memory(shape, buffers);
    LoadOptions options;
    if (argc > 2) options.readers = std::max(1, std::atoi(argv[2]));
    uint64_t total_bytes = 0;
    options.progress = [&](uint64_t, uint64_t total) { total_bytes = total; };
    const auto begin = std::chrono::steady_clock::now();
    load_weights(memory, argv[1], options);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(total_bytes),
                seconds.count());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 65;
  }
  return 0;
}
