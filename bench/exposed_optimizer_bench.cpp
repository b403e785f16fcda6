// How much of a step does the deferred optimizer cost that hides under nothing? By tokens per step around the
// break-even (b/2) F/B of DESIGN.md section 8, as executed and as simulated.
// The device is paced: a pretended rate F turns tokens into seconds of compute, which take time but no core. Optimizer,
// norms and copies are real, and their rate B is measured in the same steps. Exposed: Update, Norm and Decide while the
// compute lane is idle, by the same rule from the trace and from the simulation. Every row is measured with updates in
// pieces and with whole layers: the difference is what pieces hide.
//
//   exposed_optimizer_bench [--format exact] [--threads N] [--steps N]
//
// Not a Google Benchmark program: whole steps, one row of the table after the other. About 85 seconds.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <map>

#include "bench_run.h"
#include "core/float_mode.h"
#include "core/host_device.h"
#include "streaming/plan/simulator.h"

namespace penstock {
namespace {

constexpr double kFlops = 40e12;  // F
constexpr double kBreakEvens[] = {0.5, 0.8, 1.0, 1.2, 2.0};
// A block's wire weights are 14 MB here and the embedding's 48, so that pieces and hot rows both matter as they do in
// models with layers of hundreds of MB and pieces of 32 MiB.
constexpr uint64_t kPieceBytes = 4 * kMiB;
constexpr uint64_t kWholeLayers = uint64_t{1} << 50;
constexpr int64_t kVocabulary = 32000;

struct Options {
  StateFormat format = StateFormat::kExact;
  int threads = std::max(1, core_count() - 1);  // the lanes' threads need a core too
  int steps = 5;
};

struct Interval {
  double begin;
  double end;
};

// Begin and end of each op in seconds, from a trace or from a simulation.
using OpTimes = std::map<OpIndex, Interval>;

bool is_optimizer(OpKind kind) { return kind == OpKind::kUpdate || kind == OpKind::kNorm || kind == OpKind::kDecide; }

// Compute ops follow each other on one lane, so that their overlaps with an interval add up.
double exposed_seconds(const Schedule& schedule, const OpTimes& times) {
  double exposed = 0;
  for (const auto& [index, op] : times) {
    if (!is_optimizer(schedule.ops()[index].kind)) continue;
    exposed += op.end - op.begin;
    for (const OpIndex compute : schedule.lane(LaneKind::kCompute)) {
      const auto other = times.find(compute);
      if (other == times.end()) continue;
      exposed -= std::max(0.0, std::min(op.end, other->second.end) - std::max(op.begin, other->second.begin));
    }
  }
  return exposed;
}

OpTimes traced_times(const BenchRun& run) {
  OpTimes times;
  for (const TraceEvent& event : run.trace()) {
    times[event.op] = {static_cast<double>(event.begin_ns) * 1e-9, static_cast<double>(event.end_ns) * 1e-9};
  }
  return times;
}

OpTimes simulated_times(const Simulation& simulation) {
  OpTimes times;
  for (OpIndex op = 0; op < simulation.ops.size(); ++op) {
    times[op] = {simulation.ops[op].begin_seconds, simulation.ops[op].end_seconds};
  }
  return times;
}

// What a device of kFlops would need: 2 FLOP a token and parameter forward, twice that backward.
CostModel paced_costs(const BenchModel& model, double tokens) {
  const auto parameters = static_cast<double>(parameter_count(model.config));
  const auto blocks = static_cast<double>(model.config.num_hidden_layers);
  const double forward = 2 * parameters / blocks * tokens / kFlops;
  return {.forward_seconds = forward, .backward_seconds = 2 * forward};
}

struct Measured {
  double host_bytes_per_second;
  double step_ms;
  double exposed_ms;
  double simulated_step_ms;
  double simulated_exposed_ms;
};

// A trainer at one piece size, and what its steps have shown.
class Contender {
 public:
  Contender(const BenchModel& model, const Options& options, const CostModel& costs, uint64_t piece_bytes)
      : model_(model),
        costs_(costs),
        run_(model, plan_in_pieces(model, options.format, piece_bytes),
             std::make_unique<HostDevice>(HostDeviceOptions{}),
             {.optimizer_threads = options.threads, .traces = true, .pace = costs}) {}

  // Every step has tokens of its own, so that other rows of the embedding are hot.
  void step(uint64_t number, bool counts) {
    run_.set_batch(random_batch(model_, number));
    const double ms = run_.step_ms();
    if (!counts) return;
    steps_.push_back(ms);
    rates_.push_back(traced_host_bytes_per_second(run_));
    exposed_.push_back(exposed_seconds(run_.schedule(), traced_times(run_)) * 1e3);
  }
  Measured measured() {
    CostModel costs = costs_;
    costs.host_bytes_per_second = median(rates_);
    const Schedule& schedule = run_.schedule();
    const Simulation simulation = simulate({&schedule, &schedule}, costs);
    return {median(rates_), median(steps_), median(exposed_), simulation.step_seconds * 1e3,
            exposed_seconds(schedule, simulated_times(simulation)) * 1e3};
  }

 private:
  static RunPlan plan_in_pieces(const BenchModel& model, StateFormat format, uint64_t piece_bytes) {
    const RunPlan whole = plan_of(model, 1, Backend::kHost, format);
    RunShape shape = whole.shape;
    shape.update_piece_bytes = piece_bytes;
    return plan_run(shape, whole.planner.settings());
  }

  const BenchModel& model_;
  CostModel costs_;
  BenchRun run_;
  std::vector<double> rates_;
  std::vector<double> steps_;
  std::vector<double> exposed_;
};

struct Row {
  Measured pieces;
  Measured whole;
};

// Both trainers take turns.
Row measure(const BenchModel& model, const Options& options, double tokens) {
  const CostModel costs = paced_costs(model, tokens);
  Contender pieces(model, options, costs, kPieceBytes);
  Contender whole(model, options, costs, kWholeLayers);
  for (int step = -kWarmupSteps; step < options.steps; ++step) {
    const auto number = static_cast<uint64_t>(step + kWarmupSteps);
    pieces.step(number, step >= 0);
    whole.step(number, step >= 0);
  }
  return {pieces.measured(), whole.measured()};
}

Measured calibrate(const BenchModel& model, const Options& options) {
  Contender pieces(model, options, paced_costs(model, 8192), kPieceBytes);
  for (int step = -kWarmupSteps; step < options.steps; ++step) {
    pieces.step(static_cast<uint64_t>(step + kWarmupSteps), step >= 0);
  }
  return pieces.measured();
}

void print_row(double share, double tokens, const char* setting, const Measured& row) {
  fmt::print("{:8.0f} {:11.2f} {:>7} | {:9.1f} {:9.2f} {:8.1f}% | {:9.1f} {:9.2f} {:8.1f}%\n", tokens, share, setting,
             row.step_ms, row.exposed_ms, row.exposed_ms / row.step_ms * 100, row.simulated_step_ms,
             row.simulated_exposed_ms, row.simulated_exposed_ms / row.simulated_step_ms * 100);
}

void run_bench(const Options& options) {
  const BenchModel model{"paced", llama(8, 768, 2048, 12, 12, kVocabulary), 4, 64};
  const double bytes = moved_bytes_per_parameter(options.format);
  const Measured calibration = calibrate(model, options);
  const double break_even = bytes / 2 * kFlops / calibration.host_bytes_per_second;
  fmt::print("{} cores, {} on {} threads, {:.1f}M parameters; F {:.0f} TFLOP/s (paced), B {:.1f} GB/s (measured)\n",
             core_count(), state_format_name(options.format), options.threads,
             static_cast<double>(parameter_count(model.config)) / 1e6, kFlops / 1e12,
             calibration.host_bytes_per_second / 1e9);
  fmt::print(
      "break-even {:.0f} tokens per step; medians of {} steps; pieces of {} MiB against whole layers, in turns\n",
      break_even, options.steps, kPieceBytes / kMiB);
  fmt::print("{:>8} {:>11} {:>7} | {:>9} {:>9} {:>9} | {:>9} {:>9} {:>9}\n", "tokens", "break-evens", "updates",
             "step ms", "exposed", "of step", "simulated", "exposed", "of step");
  for (const double share : kBreakEvens) {
    const Row row = measure(model, options, share * break_even);
    print_row(share, share * break_even, "pieces", row.pieces);
    print_row(share, share * break_even, "whole", row.whole);
  }
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  penstock::set_flush_denormals();  // before any other thread exists
  penstock::Options options;
  std::map<std::string, penstock::StateFormat> formats;
  for (const auto format :
       {penstock::StateFormat::kExact, penstock::StateFormat::kCompact, penstock::StateFormat::kCompact8}) {
    formats[std::string(penstock::state_format_name(format))] = format;
  }
  CLI::App app("Exposed optimizer time by tokens per step");
  app.add_option("--format", options.format)->transform(CLI::CheckedTransformer(formats));
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 1024));
  app.add_option("--steps", options.steps)->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  penstock::run_bench(options);
  return 0;
}
