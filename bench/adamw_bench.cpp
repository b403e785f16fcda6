// Is the host optimizer a memcpy? ns per parameter and GB/s of AdamW in every state format, by instruction set and
// threads, over the machine's in-place stream rate, beside a plain loop in DeepSpeed's shape and torch's fused AdamW.
// All take turns, round after round, in one process; medians, and of ratios the medians of single rounds'.
//
//   adamw_bench [--parameters MILLIONS] [--rounds N] [--threads N ...]
//
// 64 million parameters by default: every contender's memory (0.4 to 1.3 GiB) is beyond the caches that a core has,
// and where a shared cache is larger than that, the other contenders' passes go through it in between. 8 GiB in all.
// Not a Google Benchmark program: rounds of all contenders do not fit its loop.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <map>
#include <thread>

#include "adamw_contenders.h"
#include "bench_run.h"
#include "core/float_mode.h"
#include "optim/fixed_blocks.h"
#include "optim/instruction_set.h"

namespace penstock {
namespace {

struct Options {
  int parameter_millions = 64;
  int rounds = 15;
  std::vector<int> threads;  // empty: 1, 2, 4 ... and all cores
};

// One row of the table: a contender at a number of threads.
struct Row {
  Contender* contender;
  WorkerTeam* team;
  std::vector<double> seconds;  // by round
};

std::vector<int> thread_counts(const Options& options) {
  if (!options.threads.empty()) return options.threads;
  std::vector<int> counts;
  for (int count = 1; count < core_count(); count *= 2) counts.push_back(count);
  counts.push_back(core_count());
  return counts;
}

double timed_pass(Row& row) {
  // The threads of torch's pool look for work for some milliseconds after their last: not on our time.
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto begin = std::chrono::steady_clock::now();
  row.contender->pass(*row.team);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median_ratio(const std::vector<double>& numerator, const std::vector<double>& denominator) {
  std::vector<double> ratios;
  for (size_t i = 0; i < numerator.size(); ++i) ratios.push_back(numerator[i] / denominator[i]);
  return median(ratios);
}

class Table {
 public:
  Table(std::vector<Contender> contenders, const std::vector<int>& threads) : contenders_(std::move(contenders)) {
    for (const int count : threads) {
      teams_.push_back(std::make_unique<WorkerTeam>(count));
      for (Contender& contender : contenders_) rows_.push_back({&contender, teams_.back().get(), {}});
    }
  }

  void measure(int rounds) {
    for (Row& row : rows_) timed_pass(row);  // warm-up
    for (int round = 0; round < rounds; ++round) {
      for (Row& row : rows_) row.seconds.push_back(timed_pass(row));
    }
  }

  void print(double parameters) const {
    fmt::print("{:24} {:>7} {:>7} {:>9} {:>7} {:>11} {:>15}\n", "contender", "threads", "B/param", "ns/param", "GB/s",
               "over stream", "(single rounds)");
    for (const Row& row : rows_) {
      const Row& stream = find("stream in place", row.team->thread_count());
      const double bytes = row.contender->bytes_per_parameter;
      const double bound = bytes / stream.contender->bytes_per_parameter;  // in seconds of the stream
      std::vector<double> shares;
      for (size_t i = 0; i < row.seconds.size(); ++i) shares.push_back(bound * stream.seconds[i] / row.seconds[i]);
      const auto [lowest, highest] = std::ranges::minmax(shares);
      const double seconds = median(row.seconds);
      fmt::print("{:24} {:7} {:7.2f} {:9.3f} {:7.1f} {:11.3f} {:>15}\n", row.contender->name, row.team->thread_count(),
                 bytes, seconds / parameters * 1e9, bytes * parameters / seconds / 1e9, median(shares),
                 fmt::format("{:.2f}..{:.2f}", lowest, highest));
    }
  }

  // "A is so many times as fast as B", with the goal.
  void print_ratio(const std::string& fast, const std::string& slow, double goal) const {
    for (const auto& team : teams_) {
      const int threads = team->thread_count();
      const double ratio = median_ratio(find(slow, threads).seconds, find(fast, threads).seconds);
      fmt::print("{:24} over {:24} {:2} threads {:6.2f}x, goal {:.2f}x\n", fast, slow, threads, ratio, goal);
    }
  }

 private:
  const Row& find(const std::string& name, int threads) const {
    for (const Row& row : rows_) {
      if (row.contender->name == name && row.team->thread_count() == threads) return row;
    }
    CHECK(false);
  }

  std::vector<Contender> contenders_;
  std::vector<std::unique_ptr<WorkerTeam>> teams_;
  std::vector<Row> rows_;
};

std::vector<Contender> all_contenders(int64_t parameters) {
  std::vector<Contender> contenders;
  contenders.push_back(stream_contender(parameters));
  const auto add = [&](std::vector<Contender> more) { std::ranges::move(more, std::back_inserter(contenders)); };
  for (int format = 0; format < kStateFormatCount; ++format) {
    add(adamw_contenders(static_cast<StateFormat>(format), parameters));
  }
  contenders.push_back(norm_contender(DType::kBFloat16, parameters));
  contenders.push_back(norm_contender(DType::kFloat32, parameters));
  contenders.push_back(cast_contender(parameters));
  contenders.push_back(offload_loop_contender(parameters));
  add(torch_contenders(parameters));
  return contenders;
}

void run_bench(const Options& options) {
  const int64_t parameters = (int64_t{options.parameter_millions} << 20) / kBlockElements * kBlockElements;
  fmt::print("{} cores, {}; {:.1f}M parameters, median of {} rounds\n", core_count(),
             instruction_set_name(best_instruction_set()), static_cast<double>(parameters) / 1e6, options.rounds);
  Table table(all_contenders(parameters), thread_counts(options));
  table.measure(options.rounds);
  table.print(static_cast<double>(parameters));
  table.print_ratio("exact", "torch fused, casts", 1.3);
  table.print_ratio("exact", "plain loop", 1.0);
  for (int set = 0; set < kInstructionSetCount; ++set) {
    if (!cpu_supports(static_cast<InstructionSet>(set))) continue;
    const std::string suffix = " " + std::string(instruction_set_name(static_cast<InstructionSet>(set)));
    table.print_ratio("compact" + suffix, "exact" + suffix, 1.7);
    table.print_ratio("compact8" + suffix, "compact" + suffix, 1.0);
  }
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  penstock::set_flush_denormals();  // before any other thread exists
  penstock::Options options;
  CLI::App app("AdamW over the machine's in-place stream rate, beside its peers");
  app.add_option("--parameters", options.parameter_millions, "millions")->check(CLI::Range(1, 4096));
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 1024));
  CLI11_PARSE(app, argc, argv);
  penstock::run_bench(options);
  return 0;
}
