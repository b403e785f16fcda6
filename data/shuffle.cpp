#include "data/shuffle.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/random.h"

namespace penstock {
namespace {

// Streams of the run's seed that belong to the data; init and sampling number theirs from 0.
constexpr uint64_t kDocumentStreams = uint64_t{1} << 62;  // + epoch
constexpr uint64_t kRowStreams = uint64_t{3} << 61;       // + epoch
constexpr uint64_t kSplitStream = uint64_t{1} << 63;

std::vector<int64_t> permutation(int64_t count, uint64_t seed, uint64_t stream) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  const CounterRandom random(seed, stream);
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[random.below(i, i + 1)]);
  return order;
}

int64_t validation_count(int64_t count, double val_size) {
  if (val_size == 0 || count == 0) return 0;
  if (val_size >= 1) return val_size >= static_cast<double>(count) ? count : static_cast<int64_t>(val_size);
  return std::max<int64_t>(1, std::llround(val_size * static_cast<double>(count)));
}

}  // namespace

std::vector<int64_t> document_permutation(int64_t count, uint64_t seed, int64_t epoch) {
  CHECK_GE(epoch, 0);
  return permutation(count, seed, kDocumentStreams + static_cast<uint64_t>(epoch));
}

std::vector<int64_t> row_permutation(int64_t count, uint64_t seed, int64_t epoch) {
  CHECK_GE(epoch, 0);
  return permutation(count, seed, kRowStreams + static_cast<uint64_t>(epoch));
}

DocumentSplit split_documents(int64_t count, double val_size, uint64_t seed) {
  CHECK_GE(val_size, 0.0);
  const std::vector<int64_t> order = permutation(count, seed, kSplitStream);
  const auto border = order.begin() + validation_count(count, val_size);
  DocumentSplit split{.training = {border, order.end()}, .validation = {order.begin(), border}};
  std::sort(split.training.begin(), split.training.end());
  std::sort(split.validation.begin(), split.validation.end());
  return split;
}

}  // namespace penstock
