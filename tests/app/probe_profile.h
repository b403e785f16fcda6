// A machine and its probe, made up: what tests of everything that reads a probe start from.
#pragma once

#include "app/machine_profile.h"
#include "app/probe/machine_facts.h"
#include "core/bytes.h"

namespace penstock {

inline MachineFacts made_up_facts() {
  MachineFacts facts;
  facts.processor = {.model = "Fine Processor 9000", .features = {"avx2", "avx512f"}};
  facts.topology = {.cores = {{.cpus = {0, 2}, .node = 0}, {.cpus = {1, 3}, .node = 0}},
                    .nodes = {{.os_index = 0, .memory_bytes = 32 * kGiB}},
                    .caches = {{.level = 1, .bytes = 32 * kKiB, .cores_sharing = 1},
                               {.level = 3, .bytes = 64 * kMiB, .cores_sharing = 2}},
                    .package_count = 1,
                    .source = "hwloc"};
  facts.instruction_set = InstructionSet::kAvx512;
  facts.fast_bf16 = true;
  facts.governor = "performance";
  facts.ram = {.total_bytes = 32 * kGiB, .swapped_bytes = 0};
  facts.free_memory = {30 * kGiB, "MemAvailable of /proc/meminfo"};
  facts.huge_pages = HugePages::kMadvise;
  return facts;
}

inline MachineProfile made_up_profile() {
  MachineProfile profile;
  profile.identity = {.processor = "Fine Processor 9000", .core_count = 2, .memory_gib = 32, .device = "host"};
  profile.measured_at = "2026-11-21T04:00:00Z";
  profile.stream = {.bytes = kGiB,
                    .beyond_caches = true,
                    .in_place = {{.threads = 1, .gbps = 40}, {.threads = 2, .gbps = 50}},
                    .knee = 2,
                    .best_gbps = 50,
                    .copy_gbps = 20};
  profile.first_touch = {.threads = 2,
                         .one_thread_huge = 0.125,
                         .all_threads_huge = 0.0625,
                         .one_thread_small = 0.5,
                         .all_threads_small = 0.25};
  profile.gemm = {{.dtype = DType::kFloat32, .size = 4096, .tflops = 0.25},
                  {.dtype = DType::kBFloat16, .size = 2048, .tflops = 1}};
  profile.compute_threads = 4;
  profile.link = {.bytes = 256 * kMiB, .h2d_gbps = 10, .d2h_gbps = 8, .both_gbps = 12, .latency_us = 2};
  profile.disk = {.folder = "/data",
                  .free_bytes = 100 * kGiB,
                  .bytes = kGiB,
                  .direct_io = true,
                  .write_gbps = 1.5,
                  .read_gbps = 2.5};
  profile.async_io = {.available = true};
  profile.probe_seconds = 12.5;
  return profile;
}

}  // namespace penstock
