// What does an op cost when it does nothing? A model of 200 thin blocks: the step's time over its ops is the cost of
// issuing, ordering and finishing one.
//   host, paced at zero:  our executor alone: handlers, tickets, events, the emulated device's queues.
//   host, real:           the same with 16 tokens of real maths through LibTorch.
//   cuda, real:           on a card: some twenty kernel launches and GEMMs an op. If a Forward of a real model is not
//                         well above this, launches bound the step and CUDA graphs would pay.
// Not a Google Benchmark program: runs take turns. No arguments, about a minute.
#include <fmt/format.h>

#include "bench_run.h"
#include "core/cuda/cuda_device.h"
#include "core/cuda/device_choice.h"
#include "core/cuda/linked_runtime.h"
#include "core/float_mode.h"
#include "core/host_device.h"

namespace penstock {
namespace {

constexpr int kSteps = 15;

void print_row(const char* name, BenchRun& run, const std::vector<double>& step_ms) {
  const size_t ops = run.schedule().ops().size();
  const double step = median(step_ms);
  fmt::print("  {:<22} {:9.2f} ms a step, {:5} ops, {:7.2f} us an op\n", name, step, ops,
             step * 1e3 / static_cast<double>(ops));
}

void run_benches() {
  const BenchModel model{"thin", llama(200, 64, 128, 2, 2, 259), 1, 16};
  EngineOptions options{.optimizer_threads = 1};
  EngineOptions idle = options;
  idle.pace = CostModel{};
  fmt::print("{} blocks, 16 tokens, {} cores, median of {} steps\n", model.config.num_hidden_layers, core_count(),
             kSteps);
  RunPlan plan = plan_of(model, 2);
  plan.shape.compute_threads = 1;
  BenchRun executor_only(model, plan, std::make_unique<HostDevice>(HostDeviceOptions{}), idle);
  BenchRun on_host(model, plan, std::make_unique<HostDevice>(HostDeviceOptions{}), options);
  CudaRuntime* runtime = linked_cuda_runtime();
  const CudaDeviceChoice card =
      runtime == nullptr ? CudaDeviceChoice{.problem = "a build without CUDA"} : choose_cuda_device(*runtime, 0);
  std::vector<BenchRun*> runs{&executor_only, &on_host};
  std::unique_ptr<BenchRun> on_card;
  if (card.info) {
    on_card = std::make_unique<BenchRun>(model, plan_of(model, 2, Backend::kCuda),
                                         std::make_unique<CudaDevice>(*runtime, CudaDeviceOptions{}), options);
    runs.push_back(on_card.get());
  }
  const auto times = take_turns(runs, kSteps);
  print_row("host, paced at zero", executor_only, times[0]);
  print_row("host, real", on_host, times[1]);
  if (on_card)
    print_row("cuda, real", *on_card, times[2]);
  else
    fmt::print("  cuda: not measured: {}\n", card.problem);
}

}  // namespace
}  // namespace penstock

int main() {
  penstock::set_flush_denormals();  // before any other thread exists
  penstock::run_benches();
  return 0;
}
