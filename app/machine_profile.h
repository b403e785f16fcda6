// What `penstock probe` has measured on this machine, kept for `plan`, the simulator and `optimizer.threads: auto`.
// One JSON file per machine and device below ${XDG_CACHE_HOME:-$HOME/.cache}/penstock/. A cache: a file that is
// damaged, of another version or of another machine is as good as none, and measuring again replaces it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/probe/async_io.h"
#include "app/probe/disk_rate.h"
#include "app/probe/first_touch.h"
#include "app/probe/gemm_rate.h"
#include "app/probe/link_rate.h"
#include "app/probe/pinning.h"
#include "app/probe/stream_rate.h"
#include "app/run_device.h"

namespace penstock {

// What a measurement depends on. `core_count` are the physical cores that this process may use, so a process under
// taskset or a cpuset has a profile of its own.
struct MachineIdentity {
  std::string processor;
  int core_count = 1;
  uint64_t memory_gib = 0;  // rounded: kernels differ in what they keep for themselves
  std::string device;       // the card's name, or "host"
  bool operator==(const MachineIdentity&) const = default;
};
MachineIdentity this_machine(const RunDevice& device);

// Whose products are measured: what a run may compute in.
inline constexpr std::array kMeasuredTypes = {DType::kFloat32, DType::kBFloat16};

struct MachineProfile {
  MachineIdentity identity;
  std::string measured_at;  // UTC, ISO 8601
  StreamRates stream;       // stream.knee is what `optimizer.threads: auto` takes
  FirstTouchTimes first_touch;
  std::optional<PinTimes> pinning;  // of a card
  std::vector<GemmRate> gemm;       // of each of kMeasuredTypes
  int compute_threads = 1;          // that multiplied; on a card, whose products take none, 1
  LinkRates link;
  DiskRates disk;
  AsyncIo async_io;
  double probe_seconds = 0;
  bool quick = false;  // measured with small sizes: rougher

  // 0: not measured.
  double tflops(DType dtype) const;
};

// The newest saved profile of this machine with this device; nothing where there is none. Never throws; one warning
// where a file is there that cannot be used.
std::optional<MachineProfile> load_machine_profile(const RunDevice& device);

// The same, of files in `folder`.
std::optional<MachineProfile> load_machine_profile(const std::filesystem::path& folder,
                                                   const MachineIdentity& identity);
// Durably replaces the profile of the same machine; makes `folder`. Throws Error(kIo).
std::filesystem::path save_machine_profile(const std::filesystem::path& folder, const MachineProfile& profile);

// Where profiles are kept; empty: the environment has neither XDG_CACHE_HOME nor HOME.
std::filesystem::path machine_profile_folder();
// The file's name: short, and another one for every other machine.
std::string machine_profile_name(const MachineIdentity& identity);

nlohmann::json to_json(const MachineIdentity& identity);
nlohmann::json to_json(const MachineProfile& profile);
// Throws Error(kBadInput) for what to_json() does not write: another version, missing or senseless values.
MachineProfile machine_profile_from_json(const nlohmann::json& json);

}  // namespace penstock
