#include <spdlog/spdlog.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/console.h"
#include "app/machine_profile.h"
#include "app/probe/machine_probe.h"
#include "app/probe/probe_report.h"
#include "app/verbs.h"

namespace penstock {
namespace {

// A probe is worth reading even where it cannot be kept.
void save(const MachineProfile& profile, const RunDevice& device) {
  const std::filesystem::path folder = machine_profile_folder();
  if (folder.empty()) {
    spdlog::warn("neither XDG_CACHE_HOME nor HOME is set: the probe is not saved, and plan does not know it");
    return;
  }
  const std::optional<MachineProfile> before = load_machine_profile(device);
  if (profile.quick && before && !before->quick) {
    spdlog::info("not saved: there is a full probe of {}, which is better than a quick one", before->measured_at);
    return;
  }
  try {
    spdlog::info("saved: {}", save_machine_profile(folder, profile).string());
  } catch (const Error& error) {
    spdlog::warn("the probe is not saved, and plan does not know it: {}", error.what());
  }
}

// What others compute meanwhile is missing in every rate.
void warn_about_load(int cpus) {
  double load = 0;
  if (getloadavg(&load, 1) != 1 || load < 0.5 * cpus) return;
  spdlog::warn(
      "other programs are running (load {:.1f} on {} CPUs): the rates are lower than the machine's own, probe "
      "again when they are done",
      load, cpus);
}

BackendChoice backend_named(const std::string& name) {
  if (name == "host") return BackendChoice::kHost;
  return name == "cuda" ? BackendChoice::kCuda : BackendChoice::kAuto;
}

}  // namespace

ExitCode run_probe(const ProbeArguments& arguments) {
  const DeviceSection section{.backend = backend_named(arguments.device), .index = arguments.device_index};
  const RunDevice device = choose_device(section, CudaLook::kOpen);
  const MachineFacts facts = read_machine_facts(device);
  warn_about_load(facts.topology.cpu_count());
  Console& console = error_console();
  const auto show = [&](const std::string& what) { console.show_live(what); };
  const MachineProfile profile = probe_machine(facts, device,
                                               {.output_dir = arguments.output_dir,
                                                .device_index = arguments.device_index,
                                                .quick = arguments.quick,
                                                .progress = show});
  console.show_live("");
  if (arguments.json) {
    nlohmann::json object = to_json(profile);
    object["machine"] = to_json(facts);
    print_result(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print_result(format_probe(facts, profile));
  }
  save(profile, device);
  return ExitCode::kDone;
}

}  // namespace penstock
