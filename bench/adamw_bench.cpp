// Is the host optimizer a memcpy? AdamW's ns per parameter and GB/s by format and threads, beside the machine's
// in-place stream rate: a loop that reads and writes as many bytes and does next to no arithmetic. Bytes per parameter:
// 26 in `exact`, 28 in `float32` (DESIGN.md section 5). Run with
//   --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
// so that formats, threads and the stream take turns; compare medians of `GB/s`.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <thread>

#include "core/arena.h"
#include "core/bf16.h"
#include "optim/adamw_kernels.h"
#include "optim/host_optimizer.h"

namespace penstock {
namespace {

// Far beyond any cache: 448 MiB of weights, state and gradients in `exact`, 512 MiB in `float32`.
constexpr int64_t kParameterCount = 32 << 20;

double moved_bytes_per_parameter(StateFormat format) { return format == StateFormat::kExact ? 26 : 28; }

class BenchLayer {
 public:
  explicit BenchLayer(StateFormat format)
      : layout_({{"weight", {kParameterCount}}}),
        format_(format),
        arena_("bench", layout_.slab_bytes(2 * dtype_bytes(wire_dtype(format)) + state_bytes_per_element(format))),
        wire_(arena_.allocate(layout_.slab_bytes(dtype_bytes(wire_dtype(format))))),
        state_(arena_.allocate(layout_.slab_bytes(state_bytes_per_element(format)))),
        gradient_(arena_.allocate(layout_.slab_bytes(dtype_bytes(gradient_dtype(format))))) {
    std::ranges::fill(wire_, std::byte{0x3c});
    std::ranges::fill(state_, std::byte{0x3c});
    std::ranges::fill(gradient_, std::byte{0x3c});
  }

  LayerStateView state() const { return {&layout_, format_, wire_, state_}; }
  LayerGradientView gradient() const { return {&layout_, gradient_dtype(format_), gradient_, {}}; }

 private:
  LayerLayout layout_;
  StateFormat format_;
  Arena arena_;
  std::span<std::byte> wire_;
  std::span<std::byte> state_;
  std::span<std::byte> gradient_;
};

void report(benchmark::State& state, double bytes_per_parameter) {
  const double parameters = static_cast<double>(kParameterCount) * static_cast<double>(state.iterations());
  state.counters["ns/param"] =
      benchmark::Counter(parameters / 1e9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["GB/s"] = benchmark::Counter(parameters * bytes_per_parameter / 1e9, benchmark::Counter::kIsRate);
}

void run_adamw(benchmark::State& state, StateFormat format) {
  const BenchLayer layer(format);
  WorkerTeam team(static_cast<int>(state.range(0)));
  AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.1};
  for (auto _ : state) {
    benchmark::DoNotOptimize(adamw_update(layer.state(), layer.gradient(), step, team));
    ++step.update_count;
  }
  state.SetLabel(std::string(instruction_set_name(best_instruction_set())));
  report(state, moved_bytes_per_parameter(format));
}

void run_norm(benchmark::State& state, StateFormat format) {
  const BenchLayer layer(format);
  WorkerTeam team(static_cast<int>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(gradient_norm(layer.gradient(), team));
  report(state, static_cast<double>(dtype_bytes(gradient_dtype(format))));
}

// The bound: 24 bytes per parameter, read and written in place (12 each way), in blocks as the optimizer's.
void run_stream(benchmark::State& state) {
  constexpr int64_t kWordsPerBlock = 3 * 65536;
  constexpr int64_t kWordCount = 3 * kParameterCount;
  Arena arena("stream", kWordCount * sizeof(uint32_t));
  const std::span<std::byte> bytes = arena.allocate(kWordCount * sizeof(uint32_t));
  auto* words = reinterpret_cast<uint32_t*>(bytes.data());
  std::fill_n(words, kWordCount, 1u);
  WorkerTeam team(static_cast<int>(state.range(0)));
  const std::function<void(int64_t)> touch = [words](int64_t block) {
    uint32_t* const begin = words + block * kWordsPerBlock;
    for (int64_t i = 0; i < kWordsPerBlock; ++i) begin[i] += 0x9e3779b9u;
  };
  for (auto _ : state) {
    team.run(kWordCount / kWordsPerBlock, touch);
    benchmark::ClobberMemory();
  }
  report(state, 24);
}

void by_threads(benchmark::internal::Benchmark* bench) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  for (int threads = 1; threads < cores; threads *= 2) bench->Arg(threads);
  bench->Arg(std::max(1, cores))->ArgName("threads")->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(run_stream)->Name("stream")->Apply(by_threads);
BENCHMARK_CAPTURE(run_adamw, exact, StateFormat::kExact)->Apply(by_threads);
BENCHMARK_CAPTURE(run_adamw, float32, StateFormat::kFloat32)->Apply(by_threads);
BENCHMARK_CAPTURE(run_norm, exact, StateFormat::kExact)->Apply(by_threads);
BENCHMARK_CAPTURE(run_norm, float32, StateFormat::kFloat32)->Apply(by_threads);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
