#include "app/probe/stream_rate.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "core/bytes.h"
#include "core/check.h"
#include "core/worker_team.h"
#include "optim/instruction_set.h"

namespace penstock {
namespace {

constexpr double kShareOfBest = 0.95;
// Pieces of a thread's share: as small as the optimizer's blocks, so that loop ends cost the same.
constexpr uint64_t kBlockBytes = 256 * kKiB;

PENSTOCK_INLINE_BODY void add_to_words(uint32_t* words, int64_t count) {
  for (int64_t i = 0; i < count; ++i) words[i] += 0x9e3779b9u;
}
void add_baseline(uint32_t* words, int64_t count) { add_to_words(words, count); }
PENSTOCK_TARGET_AVX2 void add_avx2(uint32_t* words, int64_t count) { add_to_words(words, count); }
PENSTOCK_TARGET_AVX512 void add_avx512(uint32_t* words, int64_t count) { add_to_words(words, count); }

void add_to_block(std::span<std::byte> block) {
  constexpr void (*kVariants[kInstructionSetCount])(uint32_t*, int64_t) = {add_baseline, add_avx2, add_avx512};
  static const auto best = kVariants[static_cast<int>(best_instruction_set())];
  best(reinterpret_cast<uint32_t*>(block.data()), static_cast<int64_t>(block.size() / sizeof(uint32_t)));
}

// A team lives for one sample: sleeping threads of all the teams of a large machine would be thousands.
WorkerTeamOptions team_options(const StreamSizes& sizes, int threads) {
  WorkerTeamOptions options{.thread_count = threads};
  if (!sizes.cpus.empty()) {
    CHECK_LE(static_cast<size_t>(threads), sizes.cpus.size());
    options.cpus.assign(sizes.cpus.begin(), sizes.cpus.begin() + threads);
  }
  return options;
}

double rate_gbps(double bytes, double seconds) { return bytes / std::max(seconds, 1e-9) * 1e-9; }

// Reads and writes every byte once; both count.
double in_place_gbps(std::span<std::byte> memory, WorkerTeam& team) {
  const auto blocks = static_cast<int64_t>(memory.size() / kBlockBytes);
  const double seconds = seconds_of([&] {
    team.run(blocks, [&](int64_t block) {
      add_to_block(memory.subspan(static_cast<uint64_t>(block) * kBlockBytes, kBlockBytes));
    });
  });
  return rate_gbps(2.0 * static_cast<double>(blocks) * static_cast<double>(kBlockBytes), seconds);
}

double copy_gbps(std::span<std::byte> memory, WorkerTeam& team) {
  const auto blocks = static_cast<int64_t>(memory.size() / 2 / kBlockBytes);
  const std::span<std::byte> to = memory.subspan(static_cast<uint64_t>(blocks) * kBlockBytes);
  const double seconds = seconds_of([&] {
    team.run(blocks, [&](int64_t block) {
      const uint64_t offset = static_cast<uint64_t>(block) * kBlockBytes;
      std::memcpy(&to[offset], &memory[offset], kBlockBytes);
    });
  });
  return rate_gbps(static_cast<double>(blocks) * static_cast<double>(kBlockBytes), seconds);
}

}  // namespace

StreamRates measure_stream(const StreamSizes& sizes) {
  CHECK(!sizes.thread_counts.empty());
  const uint64_t bytes = std::max(sizes.bytes / kBlockBytes, uint64_t{2}) * kBlockBytes;
  Arena arena("probe: stream", bytes, sizes.memory);
  const std::span<std::byte> memory = arena.allocate(bytes);
  const int most_threads = sizes.thread_counts.back();
  {
    WorkerTeam team(team_options(sizes, most_threads));  // first touch, by those who compute
    in_place_gbps(memory, team);
  }
  std::vector<std::function<double()>> cases;
  for (const int threads : sizes.thread_counts) {
    cases.push_back([&, threads] {
      WorkerTeam team(team_options(sizes, threads));
      return in_place_gbps(memory, team);
    });
  }
  cases.push_back([&] {
    WorkerTeam team(team_options(sizes, most_threads));
    return copy_gbps(memory, team);
  });
  const std::vector<double> rates = medians_by_turns(cases, sizes.limits);

  StreamRates result{.bytes = bytes, .beyond_caches = bytes >= 2 * sizes.cache_bytes, .copy_gbps = rates.back()};
  for (size_t i = 0; i < sizes.thread_counts.size(); ++i) {
    result.in_place.push_back({.threads = sizes.thread_counts[i], .gbps = rates[i]});
    result.best_gbps = std::max(result.best_gbps, rates[i]);
  }
  result.knee = find_knee(result.in_place);
  return result;
}

uint64_t stream_bytes(uint64_t cache_bytes, uint64_t available_bytes, uint64_t most_bytes) {
  const uint64_t wanted = std::max(kGiB, 4 * std::min(cache_bytes, 64 * kGiB));
  return std::min({wanted, available_bytes / 4, most_bytes});
}

std::vector<int> stream_thread_counts(int cores) {
  CHECK_GE(cores, 1);
  std::vector<int> counts;
  for (int threads = 1; threads < cores; threads += std::max(1, threads / 8)) counts.push_back(threads);
  counts.push_back(cores);
  return counts;
}

int find_knee(std::span<const ThreadRate> rates) {
  CHECK(!rates.empty());
  const auto slower = [](const ThreadRate& a, const ThreadRate& b) { return a.gbps < b.gbps; };
  const double enough = kShareOfBest * std::max_element(rates.begin(), rates.end(), slower)->gbps;
  return std::find_if(rates.begin(), rates.end(), [&](const ThreadRate& rate) { return rate.gbps >= enough; })->threads;
}

}  // namespace penstock
