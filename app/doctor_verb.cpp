#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/console.h"
#include "app/doctor.h"
#include "app/model_setup.h"
#include "app/predicted_step.h"
#include "app/run_setup.h"
#include "app/verbs.h"
#include "core/error.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// Of the nearest folder that is there.
std::optional<uint64_t> free_bytes_under(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error);
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  const fs::space_info space = fs::space(path, error);
  return error ? std::nullopt : std::optional<uint64_t>(space.available);
}

// What the configuration says; without one, what holds for any run.
DoctorFacts facts_of(const RunSetup* setup, const RunDevice& device) {
  DoctorFacts facts{.machine = read_machine_facts(device),
                    .online_cpus = static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))),
                    .profile = setup != nullptr ? setup->profile : load_machine_profile(device),
                    .output_dir = "runs"};
  if (setup != nullptr) {
    const OptimizerSection& optimizer = setup->config.optimizer;
    if (optimizer.threads) facts.optimizer_threads = static_cast<int>(*optimizer.threads);
    if (setup->config.memory.numa) facts.memory_node = static_cast<int>(*setup->config.memory.numa);
    if (!setup->config.training.output_dir.empty()) facts.output_dir = setup->config.training.output_dir;
    facts.wants_huge_pages = setup->config.memory.huge_pages;
    const auto trained = static_cast<double>(parameter_counts(*setup).trained);
    if (setup->config.training.save_strategy != SaveStrategy::kNo) {
      facts.checkpoint_bytes = static_cast<uint64_t>(trained * kept_bytes_per_parameter(optimizer.state_format));
    }
  }
  facts.free_disk_bytes = free_bytes_under(facts.output_dir);
  return facts;
}

}  // namespace

ExitCode run_doctor(const VerbArguments& verb) {
  std::optional<RunSetup> setup;
  if (verb.config.empty() && !verb.overrides.empty()) {
    throw Error(ExitCode::kUsage, "doctor " + verb.overrides.front() + ": give a configuration file first");
  }
  if (!verb.config.empty()) {
    setup = set_up_run(load_verb_config(verb.config, verb.overrides, DataNeed::kOptional), CudaLook::kLook);
  }
  const RunDevice device = setup ? setup->device : choose_device({}, CudaLook::kLook);
  const std::vector<Finding> findings = examine(facts_of(setup ? &*setup : nullptr, device));
  print_result(verb.json ? to_json(findings).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                         : format_findings(findings));
  return ExitCode::kDone;
}

}  // namespace penstock
