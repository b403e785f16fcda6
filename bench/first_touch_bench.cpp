// How long does fresh memory take? Seconds per GiB from the mapping to its last page, by threads, with and without 2
// MiB pages, beside a plain write of the same memory a second time: the bound, since the kernel has to zero every byte
// once. Every measurement maps and unmaps an arena of its own, and they take turns; medians.
//
//   first_touch_bench [--gigabytes 2] [--rounds 9]
//
// 2 GiB: beyond any cache, and the kernel's free lists refill in between. Not a Google Benchmark program: rounds.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstring>

#include "bench_run.h"
#include "core/arena.h"
#include "core/first_touch.h"
#include "core/float_mode.h"

namespace penstock {
namespace {

struct Options {
  double gigabytes = 2;
  int rounds = 9;
};

struct Row {
  int threads;
  bool huge_pages;
  std::vector<double> touch_seconds = {};
  std::vector<double> write_seconds = {};
  std::vector<double> unmap_seconds = {};
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void measure(Row& row, uint64_t bytes, WorkerTeam& team) {
  constexpr int64_t kPieceBytes = kHugePageBytes;
  auto begin = std::chrono::steady_clock::now();
  {
    Arena arena("first_touch_bench", bytes, {.huge_pages = row.huge_pages});
    const std::span<std::byte> memory = arena.allocate(bytes);
    touch_fresh({memory}, team);
    row.touch_seconds.push_back(seconds_since(begin));

    begin = std::chrono::steady_clock::now();
    team.run(static_cast<int64_t>(bytes) / kPieceBytes,
             [&](int64_t piece) { std::memset(memory.data() + piece * kPieceBytes, 1, kPieceBytes); });
    row.write_seconds.push_back(seconds_since(begin));
    begin = std::chrono::steady_clock::now();
  }
  row.unmap_seconds.push_back(seconds_since(begin));
}

void run_bench(const Options& options) {
  const auto bytes =
      static_cast<uint64_t>(options.gigabytes * static_cast<double>(kGiB)) / kHugePageBytes * kHugePageBytes;
  const double gib = static_cast<double>(bytes) / static_cast<double>(kGiB);
  WorkerTeam one(1);
  WorkerTeam all(core_count());
  std::vector<Row> rows;
  for (const bool huge_pages : {true, false}) {
    rows.push_back({.threads = 1, .huge_pages = huge_pages});
    if (core_count() > 1) rows.push_back({.threads = core_count(), .huge_pages = huge_pages});
  }
  for (int round = -1; round < options.rounds; ++round) {
    for (Row& row : rows) {
      measure(row, bytes, row.threads == 1 ? one : all);
      if (round < 0) row = {.threads = row.threads, .huge_pages = row.huge_pages};  // warm-up
    }
  }
  fmt::print("{:.2f} GiB, {} cores, median of {}; seconds per GiB\n", gib, core_count(), options.rounds);
  fmt::print("{:>7} {:>8} {:>12} {:>12} {:>8} {:>12}\n", "threads", "pages", "first touch", "write again", "ratio",
             "unmap");
  for (const Row& row : rows) {
    const double touch = median(row.touch_seconds) / gib;
    const double write = median(row.write_seconds) / gib;
    fmt::print("{:7} {:>8} {:12.4f} {:12.4f} {:8.2f} {:12.4f}\n", row.threads, row.huge_pages ? "2 MiB" : "4 KiB",
               touch, write, touch / write, median(row.unmap_seconds) / gib);
  }
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  penstock::set_flush_denormals();  // before any other thread exists
  penstock::Options options;
  CLI::App app("First touch of fresh memory");
  app.add_option("--gigabytes", options.gigabytes, "GiB")->check(CLI::Range(0.01, 1024.0));
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  penstock::run_bench(options);
  return 0;
}
