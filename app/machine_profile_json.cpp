#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "app/machine_profile.h"
#include "core/error.h"

namespace penstock {
namespace {

using nlohmann::json;

constexpr int kSchema = 2;  // raise it whenever a value changes its name or its meaning

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ExitCode::kBadInput, "the profile of this machine: " + what);
}

// Rates and times: finite and above zero, or nothing was measured.
double positive(const json& object, const char* key) {
  const double value = object.at(key).get<double>();
  if (!std::isfinite(value) || value <= 0) refuse(fmt::format("{} is {}", key, value));
  return value;
}

int count(const json& object, const char* key) {
  const int64_t value = object.at(key).get<int64_t>();
  if (value < 1 || value > (1 << 20)) refuse(fmt::format("{} is {}", key, value));
  return static_cast<int>(value);
}

DType dtype_named(const std::string& name) {
  for (const DType dtype : kMeasuredTypes) {
    if (name == dtype_name(dtype)) return dtype;
  }
  refuse("no such element type: " + name.substr(0, 20));
}

json identity_json(const MachineIdentity& identity) {
  return {{"processor", identity.processor},
          {"cores", identity.core_count},
          {"memory_gib", identity.memory_gib},
          {"device", identity.device}};
}

json stream_json(const StreamRates& stream) {
  json by_threads = json::array();
  for (const ThreadRate& rate : stream.in_place) by_threads.push_back({{"threads", rate.threads}, {"gbps", rate.gbps}});
  return {{"bytes", stream.bytes}, {"beyond_caches", stream.beyond_caches}, {"in_place", by_threads},
          {"knee", stream.knee},   {"best_gbps", stream.best_gbps},         {"copy_gbps", stream.copy_gbps}};
}

StreamRates stream_from(const json& object) {
  StreamRates stream{.bytes = object.at("bytes").get<uint64_t>(),
                     .beyond_caches = object.at("beyond_caches").get<bool>(),
                     .knee = count(object, "knee"),
                     .best_gbps = positive(object, "best_gbps"),
                     .copy_gbps = positive(object, "copy_gbps")};
  bool has_knee = false;
  for (const json& rate : object.at("in_place")) {
    stream.in_place.push_back({.threads = count(rate, "threads"), .gbps = positive(rate, "gbps")});
    has_knee = has_knee || stream.in_place.back().threads == stream.knee;
  }
  if (!has_knee) refuse("the knee is none of the thread counts");
  return stream;
}

json first_touch_json(const FirstTouchTimes& times) {
  return {{"threads", times.threads},
          {"one_thread_huge", times.one_thread_huge},
          {"all_threads_huge", times.all_threads_huge},
          {"one_thread_small", times.one_thread_small},
          {"all_threads_small", times.all_threads_small}};
}

FirstTouchTimes first_touch_from(const json& object) {
  return {.threads = count(object, "threads"),
          .one_thread_huge = positive(object, "one_thread_huge"),
          .all_threads_huge = positive(object, "all_threads_huge"),
          .one_thread_small = positive(object, "one_thread_small"),
          .all_threads_small = positive(object, "all_threads_small")};
}

json link_json(const LinkRates& link) {
  return {{"bytes", link.bytes},
          {"h2d_gbps", link.h2d_gbps},
          {"d2h_gbps", link.d2h_gbps},
          {"both_gbps", link.both_gbps},
          {"latency_us", link.latency_us}};
}

LinkRates link_from(const json& object) {
  return {.bytes = object.at("bytes").get<uint64_t>(),
          .h2d_gbps = positive(object, "h2d_gbps"),
          .d2h_gbps = positive(object, "d2h_gbps"),
          .both_gbps = positive(object, "both_gbps"),
          .latency_us = positive(object, "latency_us")};
}

json disk_json(const DiskRates& disk) {
  return {{"folder", disk.folder},       {"free_bytes", disk.free_bytes}, {"bytes", disk.bytes},
          {"direct_io", disk.direct_io}, {"write_gbps", disk.write_gbps}, {"read_gbps", disk.read_gbps},
          {"problem", disk.problem}};
}

DiskRates disk_from(const json& object) {
  DiskRates disk{.folder = object.at("folder").get<std::string>(),
                 .free_bytes = object.at("free_bytes").get<uint64_t>(),
                 .bytes = object.at("bytes").get<uint64_t>(),
                 .direct_io = object.at("direct_io").get<bool>(),
                 .problem = object.at("problem").get<std::string>()};
  if (!disk.is_measured()) return disk;
  disk.write_gbps = positive(object, "write_gbps");
  disk.read_gbps = positive(object, "read_gbps");
  return disk;
}

PinTimes pinning_from(const json& object) {
  PinTimes times{.problem = object.at("problem").get<std::string>()};
  if (times.problem.empty()) times.seconds_per_gib = positive(object, "seconds_per_gib");
  return times;
}

MachineProfile profile_from(const json& object) {
  if (object.at("schema").get<int>() != kSchema) refuse("another version of penstock wrote it");
  const json& identity = object.at("identity");
  MachineProfile profile{.identity = {.processor = identity.at("processor").get<std::string>(),
                                      .core_count = count(identity, "cores"),
                                      .memory_gib = identity.at("memory_gib").get<uint64_t>(),
                                      .device = identity.at("device").get<std::string>()},
                         .measured_at = object.at("measured_at").get<std::string>(),
                         .stream = stream_from(object.at("stream")),
                         .first_touch = first_touch_from(object.at("first_touch_seconds_per_gib")),
                         .compute_threads = count(object, "compute_threads"),
                         .link = link_from(object.at("link")),
                         .disk = disk_from(object.at("disk")),
                         .async_io = {.available = object.at("io_uring").at("available").get<bool>(),
                                      .problem = object.at("io_uring").at("problem").get<std::string>()},
                         .probe_seconds = positive(object, "probe_seconds"),
                         .quick = object.at("quick").get<bool>()};
  if (const json& pinning = object.at("pinning"); !pinning.is_null()) profile.pinning = pinning_from(pinning);
  for (const json& rate : object.at("gemm")) {
    profile.gemm.push_back({.dtype = dtype_named(rate.at("dtype").get<std::string>()),
                            .size = count(rate, "size"),
                            .tflops = positive(rate, "tflops")});
  }
  for (const DType dtype : kMeasuredTypes) {
    if (profile.tflops(dtype) == 0) refuse(fmt::format("there is no rate of {} products", dtype_name(dtype)));
  }
  return profile;
}

}  // namespace

json to_json(const MachineIdentity& identity) { return identity_json(identity); }

json to_json(const MachineProfile& profile) {
  json gemm = json::array();
  for (const GemmRate& rate : profile.gemm) {
    gemm.push_back({{"dtype", dtype_name(rate.dtype)}, {"size", rate.size}, {"tflops", rate.tflops}});
  }
  json pinning = nullptr;
  if (profile.pinning) {
    pinning = {{"seconds_per_gib", profile.pinning->seconds_per_gib}, {"problem", profile.pinning->problem}};
  }
  return {{"schema", kSchema},
          {"identity", identity_json(profile.identity)},
          {"measured_at", profile.measured_at},
          {"probe_seconds", profile.probe_seconds},
          {"quick", profile.quick},
          {"stream", stream_json(profile.stream)},
          {"first_touch_seconds_per_gib", first_touch_json(profile.first_touch)},
          {"pinning", pinning},
          {"gemm", gemm},
          {"compute_threads", profile.compute_threads},
          {"link", link_json(profile.link)},
          {"disk", disk_json(profile.disk)},
          {"io_uring", {{"available", profile.async_io.available}, {"problem", profile.async_io.problem}}}};
}

MachineProfile machine_profile_from_json(const json& object) {
  try {
    return profile_from(object);
  } catch (const json::exception& error) {
    refuse(error.what());
  }
}

}  // namespace penstock
