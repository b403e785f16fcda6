// Is streaming free? Two answers on the emulated device, each from runs that take turns in one process; medians.
//   resident: step time with two weight slots over step time with a slot for every block. Real compute, no link limit.
//             Every block then still crosses once a step, because the host updates it; backward reuses what is there.
//   paced:    compute that only takes time, and a link on which a Fetch costs half a block's Forward. Executed step
//             time beside the simulator's, and beside the same ops one after the other.
// Not a Google Benchmark program: two trainers that take turns do not fit its loop. No arguments, about two minutes.
#include <fmt/format.h>

#include "bench_run.h"
#include "core/float_mode.h"
#include "core/host_device.h"
#include "model/host_maths.h"
#include "streaming/plan/simulator.h"

namespace penstock {
namespace {

std::unique_ptr<Device> host_device(const HostDeviceOptions& options) { return std::make_unique<HostDevice>(options); }

uint64_t fetched_bytes(const Schedule& schedule) {
  const CostModel bytes_as_seconds{.h2d_bytes_per_second = 1};
  double bytes = 0;
  for (const Op& op : schedule.ops()) {
    if (op.kind == OpKind::kFetch) bytes += bytes_as_seconds.seconds(op, schedule.buffers());
  }
  return static_cast<uint64_t>(bytes);
}

void bench_resident(const BenchModel& model, int steps) {
  const EngineOptions options{.optimizer_threads = core_count()};
  const RunPlan streamed_plan = plan_of(model, 1);
  BenchRun streamed(model, streamed_plan, host_device({}), options);
  BenchRun resident(model, plan_of(model, static_cast<int>(model.config.num_hidden_layers)), host_device({}), options);
  const auto times = take_turns({&streamed, &resident}, steps);
  std::vector<double> ratios;
  for (int i = 0; i < steps; ++i) ratios.push_back(times[0][static_cast<size_t>(i)] / times[1][static_cast<size_t>(i)]);
  const auto [lowest, highest] = std::minmax_element(ratios.begin(), ratios.end());
  const auto megabytes = [](BenchRun& run) { return static_cast<double>(fetched_bytes(run.schedule())) / 1e6; };
  fmt::print("resident {}: {:.1f}M parameters, {} x {} tokens, {} compute, median of {} steps\n", model.name,
             static_cast<double>(parameter_count(model.config)) / 1e6, model.rows, model.length,
             dtype_name(streamed_plan.shape.compute), steps);
  fmt::print("  streamed, 2 slots      {:8.1f} ms, {:6.1f} MB fetched a step\n", median(times[0]), megabytes(streamed));
  fmt::print("  resident, {} slots      {:8.1f} ms, {:6.1f} MB fetched a step\n", model.config.num_hidden_layers,
             median(times[1]), megabytes(resident));
  fmt::print("  streamed over resident {:8.3f}    (single pairs {:.3f}..{:.3f})\n", median(ratios), *lowest, *highest);
}

double measured_host_bytes_per_second(BenchRun& run, int steps) {
  std::vector<double> rates;
  for (int step = -kWarmupSteps; step < steps; ++step) {
    run.step_ms();
    if (step >= 0) rates.push_back(traced_host_bytes_per_second(run));
  }
  return median(rates);
}

// Some ms an op, so that neither sleeping nor issuing counts. Rates make a Fetch of a block last half a Forward.
CostModel paced_costs(const RunPlan& plan) {
  const BufferTable& buffers = plan.planner.buffers();
  double block_bytes = 0;
  for (const BufferIndex piece : buffers.pieces(BufferKind::kHostWire, 1)) {
    block_bytes += static_cast<double>(buffers[piece].bytes);
  }
  CostModel costs{.forward_seconds = 8e-3, .backward_seconds = 16e-3, .loss_seconds = 12e-3, .pack_seconds = 1e-3};
  costs.h2d_bytes_per_second = block_bytes / (costs.forward_seconds / 2);
  costs.d2h_bytes_per_second = costs.h2d_bytes_per_second;
  return costs;
}

void bench_paced(int steps) {
  const BenchModel model{"paced", llama(8, 256, 688, 4, 4, 259), 4, 64};
  const RunPlan plan = plan_of(model, 1);
  CostModel costs = paced_costs(plan);
  const HostDeviceOptions link{.h2d_gbps = costs.h2d_bytes_per_second / 1e9,
                               .d2h_gbps = costs.d2h_bytes_per_second / 1e9};
  // One optimizer thread: the lanes' threads need the other cores.
  EngineOptions options{.optimizer_threads = 1, .traces = true, .pace = costs};
  BenchRun executed(model, plan, host_device(link), options);
  options.order = IssueOrder::kList;
  BenchRun serial(model, plan, host_device(link), options);
  costs.host_bytes_per_second = measured_host_bytes_per_second(executed, steps);
  const auto times = take_turns({&executed, &serial}, steps);

  const Schedule& schedule = executed.schedule();
  const double simulated_ms = simulate({&schedule, &schedule}, costs).step_seconds * 1e3;
  const double serial_ms = serial_seconds(schedule, costs) * 1e3;
  const double executed_ms = median(times[0]);
  const auto [lowest, highest] = std::minmax_element(times[0].begin(), times[0].end());
  fmt::print(
      "paced: {} blocks, Forward {:.0f} ms, Backward {:.0f} ms, Fetch {:.0f} ms; host lane measured at "
      "{:.1f} GB/s; {} steps\n",
      model.config.num_hidden_layers, costs.forward_seconds * 1e3, costs.backward_seconds * 1e3,
      costs.forward_seconds * 0.5e3, costs.host_bytes_per_second / 1e9, steps);
  fmt::print("  executed           {:8.1f} ms  ({:.1f}..{:.1f})\n", executed_ms, *lowest, *highest);
  fmt::print("  simulated          {:8.1f} ms, executed is {:+.1f}% of it off\n", simulated_ms,
             (executed_ms / simulated_ms - 1) * 100);
  fmt::print("  serial, executed   {:8.1f} ms, overlap is worth {:.2f}x\n", median(times[1]),
             median(times[1]) / executed_ms);
  fmt::print("  serial, computed   {:8.1f} ms\n", serial_ms);
}

void run_benches() {
  fmt::print("{} cores, {}\n", core_count(), cpu_has_fast_bf16() ? "fast bf16" : "no fast bf16");
  bench_paced(30);
  bench_resident({"quickstart", llama(8, 320, 896, 5, 5, 259), 8, 512}, 15);
  bench_resident({"63M", llama(8, 768, 2048, 12, 4, 8192), 4, 512}, 9);
}

}  // namespace
}  // namespace penstock

int main() {
  penstock::set_flush_denormals();  // before any other thread exists
  penstock::run_benches();
  return 0;
}
