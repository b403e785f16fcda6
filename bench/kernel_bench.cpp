// Does every kernel run at the speed of the card's memory? Bytes a kernel has to move, at the shapes of an 8B model
// (4,096 wide, 14,336 in the MLP, 32 + 8 + 8 heads of 128, 128,256 tokens) and 16,384 tokens a micro-batch, over its
// time, in GB/s and as a share of the card's peak (bus width times memory clock). The goal is 80% of peak; the case
// `copy` shows what a plain device-to-device copy reaches in the same run. Run with
//   --benchmark_enable_random_interleaving=true --benchmark_repetitions=9 --benchmark_report_aggregates_only=true
// so that kernels and copy take turns; compare medians. Without a card it says so and ends.
#include <benchmark/benchmark.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "core/dtype.h"
#include "model/cuda/cuda_kernel_set.h"

namespace penstock {
namespace {

constexpr DType kBf16 = DType::kBFloat16, kFp32 = DType::kFloat32;
constexpr int64_t kTokens = 16384, kHidden = 4096, kFfn = 14336, kVocab = 128256, kLogitRows = 1024;
constexpr int64_t kQueryHeads = 32, kKeyHeads = 8, kHeadDim = 128, kQkv = (kQueryHeads + 2 * kKeyHeads) * kHeadDim;
constexpr int64_t kNormed = kTokens * (kQueryHeads + kKeyHeads) * kHeadDim;  // elements of the heads that are turned
constexpr int64_t kWeights = kHidden * kFfn;
constexpr int kLaunches = 10;  // timed together, so that the launch itself hides

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// Device memory of one value everywhere: 0.0115 in bf16 and in fp32.
class Memory {
 public:
  explicit Memory(int64_t bytes) {
    check(cudaMalloc(&data_, static_cast<size_t>(bytes)));
    check(cudaMemset(data_, 0x3c, static_cast<size_t>(bytes)));
  }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

// What the kernels work on: 4 GB in all, each operand far larger than the L2 cache where a real step's is.
struct Operands {
  Operands() {
    std::vector<int32_t> counted(kTokens);
    std::iota(counted.begin(), counted.end(), 0);
    check(cudaMemcpy(positions.as(), counted.data(), counted.size() * sizeof(int32_t), cudaMemcpyHostToDevice));
    for (int64_t i = 0; i < kMostHalfHeadDim; ++i) angle_rows.inverse[i] = 1.0f / static_cast<float>(1 + i);
  }

  Memory gate_up{kTokens * 2 * kFfn * 2}, d_gate_up{kTokens * 2 * kFfn * 2}, activated{kTokens * kFfn * 2};
  Memory x{kTokens * kQkv * 2}, gradient{kTokens * kQkv * 2}, skip{kTokens * kHidden * 2}, d_x{kTokens * kHidden * 2};
  Memory normed{kTokens * kHidden * 2}, cache{kTokens * 2 * kKeyHeads * kHeadDim * 2};
  Memory logits{kLogitRows * kVocab * 2}, row_losses{kTokens * 8}, positions{kTokens * 4}, statistics{3 * kTokens * 4};
  Memory weight{kFfn * 4}, d_weight{kFfn * 4}, rstd{kTokens * 64 * 4},
      partials{4 * kernel_norm_partials(kTokens, kHidden)};
  Memory cosines{kTokens * kHeadDim / 2 * 4}, sines{kTokens * kHeadDim / 2 * 4}, slot{kWeights * 4}, wire{kWeights * 2};
  RopeAngleRows angle_rows{kTokens, kHeadDim / 2, positions.as<int32_t>(), {cosines.as<float>(), sines.as<float>()}, 1,
                           {}};

  HeadNormShape heads() const { return {kTokens, kQkv, kQueryHeads, kKeyHeads, kHeadDim}; }
  RopeRows rope(bool backward) const {
    return {kTokens, kQkv, kQueryHeads + kKeyHeads, kHeadDim, x.as(), {cosines.as<float>(), sines.as<float>()},
            backward};
  }
  CrossEntropyRows loss_rows(bool gradient_too) const {
    return {kLogitRows, kVocab, positions.as<int32_t>(), logits.as(), row_losses.as<double>(), gradient_too, 1e-3f};
  }
  LossStatistics loss_statistics() const {
    auto* floats = statistics.as<float>();
    return {floats, floats + kTokens, floats + 2 * kTokens};
  }
  PartialCrossEntropyRows part() const {
    return {kLogitRows, kVocab, 0, positions.as<int32_t>(), logits.as(), loss_statistics()};
  }
};

struct KernelCase {
  std::string name;
  int64_t bytes;  // that have to move
  std::function<void(KernelSet&)> launch;
};

void add_flat_cases(std::vector<KernelCase>& cases, const Operands& o) {
  cases.push_back({"copy", kWeights * 4, [&o](KernelSet& k) { k.copy(o.d_gate_up.as(), o.wire.as(), kWeights * 2); }});
  cases.push_back({"cast fp32 to bf16", kWeights * 6,
                   [&o](KernelSet& k) { k.cast(kFp32, o.slot.as(), kBf16, o.wire.as(), kWeights); }});
  cases.push_back({"cast bf16 to fp32", kWeights * 6,
                   [&o](KernelSet& k) { k.cast(kBf16, o.wire.as(), kFp32, o.slot.as(), kWeights); }});
  cases.push_back({"accumulate bf16", kWeights * 10,
                   [&o](KernelSet& k) { k.accumulate(kBf16, o.wire.as(), o.slot.as<float>(), true, kWeights); }});
  cases.push_back({"accumulate fp32", kWeights * 12,
                   [&o](KernelSet& k) { k.accumulate(kFp32, o.gate_up.as(), o.slot.as<float>(), true, kWeights); }});
  cases.push_back({"column sums", kTokens * kQkv * 2, [&o](KernelSet& k) {
                     k.add_column_sums(kBf16, {o.x.as(), kTokens, kQkv, 0, kQkv, o.d_weight.as<float>(), true});
                   }});
}

void add_norm_cases(std::vector<KernelCase>& cases, const Operands& o) {
  cases.push_back({"rms norm", kTokens * kHidden * 4, [&o](KernelSet& k) {
                     k.rms_norm(kBf16, {kTokens, kHidden, 1e-5f, o.skip.as(), o.weight.as<float>(), o.normed.as(),
                                        o.rstd.as<float>()});
                   }});
  const int64_t partials = 8 * kernel_norm_partials(kTokens, kHidden);
  cases.push_back({"rms norm backward", kTokens * kHidden * 10 + partials, [&o](KernelSet& k) {
                     k.rms_norm_backward(kBf16, {kTokens, kHidden, o.x.as(), o.weight.as<float>(), o.rstd.as<float>(),
                                                 o.gradient.as(), o.skip.as(), o.d_x.as(), o.normed.as(),
                                                 o.partials.as<float>(), o.d_weight.as<float>(), true});
                   }});
  cases.push_back({"head norm", kNormed * 6, [&o](KernelSet& k) {
                     k.head_norm(kBf16, {o.heads(), 1e-5f, o.weight.as<float>(), o.weight.as<float>(), o.x.as(),
                                         o.gate_up.as(), o.rstd.as<float>()});
                   }});
  cases.push_back({"head norm backward", kNormed * 6, [&o](KernelSet& k) {
                     k.head_norm_backward(kBf16, {o.heads(), o.weight.as<float>(), o.weight.as<float>(), o.gate_up.as(),
                                                  o.rstd.as<float>(), o.gradient.as(), o.partials.as<float>(),
                                                  o.d_weight.as<float>(), o.d_weight.as<float>() + kHeadDim, true});
                   }});
}

void add_row_cases(std::vector<KernelCase>& cases, const Operands& o) {
  constexpr int64_t kAngles = kTokens * kHeadDim / 2 * 8, kKv = kKeyHeads * kHeadDim;
  cases.push_back({"rope angles", kAngles + kTokens * 4, [&o](KernelSet& k) { k.rope_angles(o.angle_rows); }});
  cases.push_back({"rope", kNormed * 4 + kAngles, [&o](KernelSet& k) { k.rope(kBf16, o.rope(false)); }});
  cases.push_back({"rope backward", kNormed * 4 + kAngles, [&o](KernelSet& k) { k.rope(kBf16, o.rope(true)); }});
  cases.push_back({"swiglu", kTokens * kFfn * 6, [&o](KernelSet& k) {
                     k.swiglu(kBf16, {kTokens, kFfn, o.gate_up.as(), o.activated.as()});
                   }});
  cases.push_back({"swiglu backward", kTokens * kFfn * 12, [&o](KernelSet& k) {
                     k.swiglu_backward(
                         kBf16, {kTokens, kFfn, o.gate_up.as(), o.activated.as(), o.activated.as(), o.d_gate_up.as()});
                   }});
  cases.push_back({"append to cache", kTokens * kKv * 8, [&o](KernelSet& k) {
                     k.append_to_cache(kBf16, {kTokens, kTokens, kTokens, kQkv, kQueryHeads * kHeadDim, kKv,
                                               o.positions.as<int32_t>(), o.x.as(), o.cache.as(),
                                               o.cache.as<bf16_bits>() + kTokens * kKv});
                   }});
}

void add_loss_cases(std::vector<KernelCase>& cases, const Operands& o) {
  constexpr int64_t kLogits = kLogitRows * kVocab * 2;
  cases.push_back({"loss", kLogits, [&o](KernelSet& k) { k.cross_entropy(kBf16, o.loss_rows(false)); }});
  cases.push_back(
      {"loss and gradient", kLogits * 3, [&o](KernelSet& k) { k.cross_entropy(kBf16, o.loss_rows(true)); }});
  cases.push_back({"loss statistics", kLogits, [&o](KernelSet& k) { k.add_loss_statistics(kBf16, o.part()); }});
  cases.push_back({"partial gradient", kLogits * 2,
                   [&o](KernelSet& k) { k.partial_cross_entropy_gradient(kBf16, o.part(), 1e-3f); }});
  cases.push_back({"losses of statistics", kTokens * 24, [&o](KernelSet& k) {
                     k.losses_of_statistics(kTokens, o.positions.as<int32_t>(), o.loss_statistics(),
                                            o.row_losses.as<double>());
                   }});
  cases.push_back({"sum of losses", kTokens * 8, [&o](KernelSet& k) {
                     k.sum_losses(o.row_losses.as<double>(), kTokens, false, o.d_weight.as<double>());
                   }});
}

double peak_bytes_per_second() {
  int device = 0, kilohertz = 0, bits = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrMemoryClockRate, device));
  check(cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, device));
  return 2.0 * kilohertz * 1e3 * bits / 8;  // both edges of the clock
}

class Timer {
 public:
  Timer() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    check(cudaEventCreate(&begin_));
    check(cudaEventCreate(&end_));
  }
  ~Timer() {
    cudaEventDestroy(end_);
    cudaEventDestroy(begin_);
    cudaStreamDestroy(stream_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  cudaStream_t stream() const { return stream_; }
  double seconds(const std::function<void()>& enqueue) const {
    check(cudaEventRecord(begin_, stream_));
    enqueue();
    check(cudaEventRecord(end_, stream_));
    check(cudaEventSynchronize(end_));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds / 1e3;
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

void run_case(benchmark::State& state, const KernelCase& kernel, KernelSet& kernels, const Timer& timer, double peak) {
  const auto launch_all = [&] {
    for (int i = 0; i < kLaunches; ++i) kernel.launch(kernels);
  };
  timer.seconds(launch_all);
  double seconds = 0;
  for (auto _ : state) {
    const double launched = timer.seconds(launch_all) / kLaunches;
    state.SetIterationTime(launched);
    seconds += launched;
  }
  const double rate = static_cast<double>(kernel.bytes) * static_cast<double>(state.iterations()) / seconds;
  state.counters["GB/s"] = rate / 1e9;
  state.counters["peak_share"] = rate / peak;
}

int run(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device: no kernel was measured");
    return 0;
  }
  benchmark::Initialize(&argc, argv);
  const Operands operands;
  const Timer timer;
  const std::unique_ptr<KernelSet> kernels = make_cuda_kernel_set(timer.stream());
  check(cudaDeviceSynchronize());  // the operands' first values: the stream does not wait for them
  std::vector<KernelCase> cases;
  add_flat_cases(cases, operands);
  add_norm_cases(cases, operands);
  add_row_cases(cases, operands);
  add_loss_cases(cases, operands);
  const double peak = peak_bytes_per_second();
  benchmark::AddCustomContext("peak GB/s", std::to_string(peak / 1e9));
  for (const KernelCase& kernel : cases) {
    benchmark::RegisterBenchmark(kernel.name.c_str(), [&](benchmark::State& state) {
      run_case(state, kernel, *kernels, timer, peak);
    })->UseManualTime();
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::run(argc, argv); }
