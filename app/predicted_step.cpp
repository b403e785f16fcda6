#include "app/predicted_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/console.h"
#include "core/check.h"
#include "streaming/plan/simulator.h"

namespace penstock {
namespace {

constexpr double kGigabyte = 1e9;

// A paced device computes at the configuration's rate, whatever the processor can do.
double compute_flops_per_second(const RunSetup& setup, const MachineProfile& profile) {
  const DeviceSection& device = setup.config.device;
  if (device.compute == ComputeMode::kPaced) return device.paced_tflops * 1e12;
  const double measured = profile.tflops(setup.compute) * 1e12;
  if (setup.device.backend != Backend::kHost) return measured;
  return measured * std::min(1.0, static_cast<double>(setup.compute_threads) / profile.compute_threads);
}

double micro_batch_tokens(const RunSetup& setup) {
  const RunShape shape = training_shape(setup);
  return static_cast<double>(shape.rows * shape.length);
}

// "12.5 ms", "1.25 s", "28m40s".
std::string seconds_text(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.3g} ms", 1e3 * seconds);
  return seconds < 99.95 ? fmt::format("{:.3g} s", seconds) : format_duration(seconds);
}

double update_seconds(const Schedule& schedule, const CostModel& costs) {
  double seconds = 0;
  for (const Op& op : schedule.ops()) {
    if (op.kind == OpKind::kUpdate) seconds += costs.seconds(op, schedule.buffers());
  }
  return seconds;
}

}  // namespace

ForwardFlops forward_flops(const RunSetup& setup) {
  const ModelConfig& model = setup.model;
  const auto head = static_cast<double>(model.vocab_size * model.hidden_size);
  const double ends = model.tie_word_embeddings ? head : 2 * head;
  const double blocks = static_cast<double>(parameter_count(model)) - ends;
  const double flops_per_parameter = 2 * micro_batch_tokens(setup);
  return {.block = flops_per_parameter * blocks / static_cast<double>(model.num_hidden_layers),
          .head = flops_per_parameter * head};
}

CostModel profile_costs(const RunSetup& setup, const MachineProfile& profile) {
  const DeviceSection& device = setup.config.device;
  const bool is_emulated = setup.device.backend == Backend::kHost;
  const auto link = [&](double configured, double measured) {
    return is_emulated && configured > 0 ? configured : measured;
  };
  const double rate = compute_flops_per_second(setup, profile);
  CHECK_GT(rate, 0.0);
  const ForwardFlops flops = forward_flops(setup);
  return {.h2d_bytes_per_second = link(device.h2d_gbps, profile.link.h2d_gbps) * kGigabyte,
          .d2h_bytes_per_second = link(device.d2h_gbps, profile.link.d2h_gbps) * kGigabyte,
          .copy_latency_seconds = link(device.latency_us, profile.link.latency_us) * 1e-6,
          .host_bytes_per_second = host_bytes_per_second(profile.stream, setup.optimizer_threads),
          .forward_seconds = flops.block / rate,
          .backward_seconds = 2 * flops.block / rate,
          .recompute_seconds = flops.block / rate,
          .loss_seconds = 3 * flops.head / rate,
          .head_parts = setup.head_parts};
}

double host_bytes_per_second(const StreamRates& stream, int threads) {
  CHECK(!stream.in_place.empty());
  double gbps = stream.in_place.front().gbps;
  for (const ThreadRate& rate : stream.in_place) {
    if (rate.threads <= threads) gbps = rate.gbps;
  }
  return gbps * kGigabyte;
}

double break_even_tokens(StateFormat format, UpdateMode update, double flops_per_second, double host_bytes_per_second) {
  const double flops_above = update == UpdateMode::kDeferred ? 2 : 6;
  return moved_bytes_per_parameter(format) / flops_above * flops_per_second / host_bytes_per_second;
}

PredictedStep predict_step(const RunSetup& setup, const RunPlan& plan, const MachineProfile& profile) {
  const CostModel costs = profile_costs(setup, profile);
  const UpdateMode update = plan.planner.settings().update;
  const Schedule step =
      plan.planner.plan(update == UpdateMode::kDeferred ? StepVariant::kTrainPending : StepVariant::kTrain);
  const Simulation simulation = simulate({&step, &step}, costs);
  const double tokens = micro_batch_tokens(setup) * plan.planner.settings().micro_batches;
  return {.step_seconds = simulation.step_seconds,
          .tokens_per_second = tokens / simulation.step_seconds,
          .optimizer_seconds = update_seconds(step, costs),
          .break_even_tokens = break_even_tokens(plan.shape.format, update, compute_flops_per_second(setup, profile),
                                                 costs.host_bytes_per_second),
          .tokens = tokens,
          .busy_seconds = simulation.busy_seconds,
          .exposed_seconds = simulation.exposed_seconds};
}

std::string format_prediction(const PredictedStep& step) {
  const auto exposed = [&](LaneKind lane) { return seconds_text(step.exposed_seconds[static_cast<size_t>(lane)]); };
  return fmt::format(
      "predicted from the saved probe (products alone): {} a step of {} tokens, {}\n"
      "  exposed: fetch {}, offload {}, host {}; the optimizer takes {}\n"
      "  the optimizer hides from about {} tokens a step on",
      seconds_text(step.step_seconds), format_count(step.tokens), format_rate(step.tokens_per_second),
      exposed(LaneKind::kFetch), exposed(LaneKind::kOffload), exposed(LaneKind::kHost),
      seconds_text(step.optimizer_seconds), format_count(step.break_even_tokens));
}

nlohmann::json to_json(const PredictedStep& step) {
  nlohmann::json busy, exposed;
  for (int lane = 0; lane < kLaneCount; ++lane) {
    const std::string name(lane_name(static_cast<LaneKind>(lane)));
    busy[name] = step.busy_seconds[static_cast<size_t>(lane)];
    exposed[name] = step.exposed_seconds[static_cast<size_t>(lane)];
  }
  return {{"step_seconds", step.step_seconds},
          {"tokens", step.tokens},
          {"tokens_per_second", step.tokens_per_second},
          {"optimizer_seconds", step.optimizer_seconds},
          {"break_even_tokens", step.break_even_tokens},
          {"busy_seconds", busy},
          {"exposed_seconds", exposed}};
}

}  // namespace penstock
