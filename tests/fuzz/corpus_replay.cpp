// Runs a fuzz target without libFuzzer, so that it cannot rot: its seeds, then seeded mutations of them.
//   replay_X                  all of it; a failure aborts and names the mutation
//   replay_X --write FOLDER   the seeds as files, to start libFuzzer from
//   replay_X FILE...          these inputs
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/random.h"
#include "fuzz_target.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 4;
constexpr uint64_t kMutations = 5000;
constexpr uint64_t kMostEdits = 4;

volatile std::sig_atomic_t current_mutation = -1;

void name_mutation(int) {
  std::fprintf(stderr, "fuzz replay: seed %d, mutation %d (-1: an input as it is)\n", static_cast<int>(kSeed),
               static_cast<int>(current_mutation));
  std::signal(SIGABRT, SIG_DFL);
}

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// Draws in a fixed order: the same mutations everywhere.
class Mutator {
 public:
  explicit Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)), random_(kSeed, 0) {}

  std::string next() {
    std::string input = seeds_[below(seeds_.size())];
    for (uint64_t edit = 1 + below(kMostEdits); edit > 0; --edit) change(input);
    return input;
  }

 private:
  uint64_t below(uint64_t bound) { return random_.below(draw_++, bound); }

  void change(std::string& input) {
    static const std::string kTokens[] = {"-1",
                                          "18446744073709551615",
                                          "9223372036854775808",
                                          "1e999",
                                          "null",
                                          "[[",
                                          "{\"",
                                          "\\u0000",
                                          "\xff",
                                          "\n",
                                          "0",
                                          "\"a\":"};
    const size_t place = below(input.size() + 1);
    const size_t length = below(input.size() - place + 1);
    switch (below(6)) {
      case 0:
        input.resize(place);
        return;
      case 1:
        input.erase(place, length);
        return;
      case 2:
        input.insert(place, kTokens[below(std::size(kTokens))]);
        return;
      case 3:
        input.replace(place, below(4), kTokens[below(std::size(kTokens))]);
        return;
      case 4:
        input.insert(place, input.substr(below(place + 1), length));
        return;
      default:
        if (place < input.size()) input[place] = static_cast<char>(input[place] ^ static_cast<char>(1 << below(8)));
    }
  }

  std::vector<std::string> seeds_;
  CounterRandom random_;
  uint64_t draw_ = 0;
};

void write_seeds(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  int number = 0;
  for (const std::string& seed : fuzz_seeds()) {
    std::ofstream(folder / ("seed-" + std::to_string(number++)), std::ios::binary) << seed;
  }
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  using namespace penstock;
  std::signal(SIGABRT, name_mutation);
  if (argc == 3 && std::string_view(argv[1]) == "--write") {
    write_seeds(argv[2]);
    return 0;
  }
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    run({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
  }
  if (argc > 1) return 0;
  for (const std::string& seed : fuzz_seeds()) run(seed);
  Mutator mutator(fuzz_seeds());
  for (uint64_t mutation = 0; mutation < kMutations; ++mutation) {
    current_mutation = static_cast<std::sig_atomic_t>(mutation);
    run(mutator.next());
  }
  std::printf("%d seeds and %d mutations\n", static_cast<int>(fuzz_seeds().size()), static_cast<int>(kMutations));
  return 0;
}
