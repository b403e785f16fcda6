// What a run needs against what the machine has: limits, the files' bytes, and settings that would help.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/run_setup.h"
#include "core/bytes.h"
#include "core/system_limits.h"
#include "core/system_memory.h"
#include "data/file_list.h"

namespace penstock {
namespace {

// Left to the system and to what is not planned (code, LibTorch's own memory, caches of the C library).
constexpr uint64_t kHostReserveBytes = 512 * kMiB;
// With a card also its driver's mappings, cuBLAS, and the staging rings; and what is pinned cannot be swapped.
constexpr uint64_t kCudaHostReserveBytes = 2 * kGiB;
// Beyond this the remedy's own buffer table would be the problem.
constexpr int64_t kMostRemedyMicroBatches = 1024;

// The least of what the system has free, what the groups above us allow, and what this process may still map.
HostMemory host_limit(const RunSetup& setup) {
  HostMemory limit = read_host_memory(setup.system_root);
  const MappingLimit mapping = read_mapping_limit(read_system_limits(), read_mapped_bytes(setup.system_root));
  if (mapping.available_bytes < limit.available_bytes) limit = {mapping.available_bytes, mapping.source};
  const uint64_t reserve = setup.device.backend == Backend::kCuda ? kCudaHostReserveBytes : kHostReserveBytes;
  if (limit.available_bytes != UINT64_MAX) {
    limit.available_bytes -= std::min(limit.available_bytes, reserve);
    limit.source += fmt::format(", less {} for the system", format_bytes(reserve));
  }
  const double wanted = setup.config.memory.host_memory_gb;
  if (wanted > 0 && bytes_of_gib(wanted) < limit.available_bytes) {
    limit = {bytes_of_gib(wanted), "memory.host_memory_gb"};
  }
  return limit;
}

// Smaller state is the one remedy that changes results, and often the only one that helps the host; it says so.
void add_smaller_state(const RunPlan& plan, uint64_t data_bytes, std::vector<Remedy>& remedies) {
  if (plan.planner.settings().purpose != Purpose::kTrain) return;
  const uint64_t planned_bytes = memory_plan(plan, data_bytes).host_bytes();
  for (const StateFormat format : {StateFormat::kExact, StateFormat::kCompact, StateFormat::kCompact8}) {
    RunShape smaller = plan.shape;
    smaller.format = format;
    smaller.gradient = gradient_dtype(format);
    const MemoryPlan memory = memory_plan(plan_run(smaller, plan.planner.settings()), data_bytes);
    if (memory.host_bytes() >= planned_bytes) continue;
    remedies.push_back(
        {fmt::format("optimizer.state_format={} (which changes results)", state_format_name(format)), memory});
  }
}

// Settings that need less, each with the plan it would give. All but the state format change no result beyond rounding.
std::vector<Remedy> remedies(const RunSetup& setup, const RunPlan& plan, uint64_t data_bytes) {
  std::vector<Remedy> remedies;
  const StepSettings& settings = plan.planner.settings();
  const auto add = [&](const std::string& text, const StepSettings& other) {
    remedies.push_back({text, memory_plan(plan_run(plan.shape, other), data_bytes)});
  };
  if (settings.purpose == Purpose::kTrain) {
    StepSettings recompute = settings;
    recompute.activations.assign(recompute.activations.size(), ActivationPolicy::kRecompute);
    if (recompute.activations != settings.activations) add("memory.activations=recompute", recompute);
    StepSettings thin = recompute;
    thin.prefetch_depth = 1;
    thin.gradient_slots = 1;
    add("memory.activations=recompute memory.prefetch_depth=1 memory.gradient_slots=1", thin);
  }
  if (settings.purpose == Purpose::kTrain && plan.shape.head_parts < 8 && plan.shape.model.vocab_size >= 64) {
    RunShape split = plan.shape;
    split.head_parts = 8;
    remedies.push_back({"memory.head_parts=8", memory_plan(plan_run(split, settings), data_bytes)});
  }
  RunShape small = plan.shape;
  const int64_t rows = setup.config.training.per_device_train_batch_size;
  const int64_t single_rows = rows * settings.micro_batches;
  if (rows > 1 && single_rows <= kMostRemedyMicroBatches && settings.purpose == Purpose::kTrain) {
    small.rows = 1;
    StepSettings split = settings;
    split.micro_batches = static_cast<int>(single_rows);
    split.activations.assign(split.activations.size(), ActivationPolicy::kRecompute);
    remedies.push_back({fmt::format("training.per_device_train_batch_size=1 training.gradient_accumulation_steps={} "
                                    "memory.activations=recompute",
                                    split.micro_batches),
                        memory_plan(plan_run(small, split), data_bytes)});
  }
  add_smaller_state(plan, data_bytes, remedies);
  return remedies;
}

}  // namespace

uint64_t device_budget(const RunSetup& setup) { return device_budget(setup.config.device, setup.device); }

std::unique_ptr<Device> make_device(const RunSetup& setup, const RunPlan& plan) {
  return open_device(setup.config, setup.device, plan);
}

uint64_t data_file_bytes(const RunSetup& setup) {
  __int128 bytes = 0;
  const auto add = [&](const std::vector<std::string>& entries, const char* key) {
    if (entries.empty()) return;
    for (const std::string& path : expand_paths(entries, key)) {
      std::error_code error;
      const uintmax_t size = std::filesystem::file_size(path, error);
      if (!error) bytes += size;  // the loader says what is wrong with the others
    }
  };
  add(setup.config.dataset.path, "dataset.path");
  add(setup.config.dataset.eval_path, "dataset.eval_path");
  return static_cast<uint64_t>(std::min<__int128>(bytes, INT64_MAX));
}

void require_fit(const RunSetup& setup, const RunPlan& plan) {
  const bool reads_data = plan.planner.settings().purpose != Purpose::kGenerate;
  require_fit(setup, plan, reads_data ? data_file_bytes(setup) : 0);
}

void require_fit(const RunSetup& setup, const RunPlan& plan, uint64_t data_bytes) {
  const MemoryPlan memory = memory_plan(plan, data_bytes);
  const HostMemory host = host_limit(setup);
  MemoryLimits limits{
      .host_bytes = host.available_bytes, .device_bytes = device_budget(setup), .host_source = host.source};
  // The emulated device's memory is the host's own.
  const bool is_shared = setup.device.backend == Backend::kHost;
  const bool shared_fits = !is_shared || memory.all_bytes() <= limits.host_bytes;
  if (shared_fits && memory.host_bytes() <= limits.host_bytes && memory.device_bytes() <= limits.device_bytes) return;
  if (!shared_fits && memory.host_bytes() <= limits.host_bytes) {
    limits.device_bytes = std::min(limits.device_bytes, limits.host_bytes - memory.host_bytes());
  }
  penstock::require_fit(memory, limits, remedies(setup, plan, data_bytes));
}

void require_host_fit(const RunSetup& setup, const MemoryPlan& memory) {
  const HostMemory host = host_limit(setup);
  penstock::require_fit(memory, {.host_bytes = host.available_bytes, .host_source = host.source}, {});
}

}  // namespace penstock
