// What a training step will take on this machine: the simulator over two joined steps, with costs from a saved probe.
// An estimate of the products alone: attention, norms and the loss's softmax come on top.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/machine_profile.h"
#include "app/run_setup.h"

namespace penstock {

// Flops of one block's and of the head's forward for one micro-batch: 2 a parameter and token.
struct ForwardFlops {
  double block = 0;
  double head = 0;
};
ForwardFlops forward_flops(const RunSetup& setup);

// 1 GB/s is 1e9 bytes/s. On the emulated device the configuration's link and pace take the place of the probe's, and
// fewer compute threads than the probe had are taken to multiply as much slower. That is too slow where some of those
// share a core or saturate the memory: a prediction that errs there promises too little.
CostModel profile_costs(const RunSetup& setup, const MachineProfile& profile);

// Of `profile`, in place with at most so many threads, in bytes/s.
double host_bytes_per_second(const StreamRates& stream, int threads);

// The fewest tokens of a step under which its update hides (DESIGN.md section 8), where b bytes a parameter move:
// (b/2) F/B of the deferred update, which runs under a forward of 2 flops a parameter and token; a third of that of the
// eager one, under a backward that recomputes: 6 flops.
double break_even_tokens(StateFormat format, UpdateMode update, double flops_per_second, double host_bytes_per_second);

struct PredictedStep {
  double step_seconds = 0;
  double tokens_per_second = 0;
  double optimizer_seconds = 0;  // of all updates, wherever they hide
  double break_even_tokens = 0;
  double tokens = 0;                                    // of a step
  std::array<double, kLaneCount> busy_seconds = {};     // of the step, by lane
  std::array<double, kLaneCount> exposed_seconds = {};  // while the compute lane idles
};
PredictedStep predict_step(const RunSetup& setup, const RunPlan& plan, const MachineProfile& profile);

std::string format_prediction(const PredictedStep& step);
nlohmann::json to_json(const PredictedStep& step);

}  // namespace penstock
