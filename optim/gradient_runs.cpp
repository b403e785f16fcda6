#include "optim/gradient_runs.h"

#include <algorithm>

namespace penstock {
namespace {

// 8 or 16 KiB of zeros that stay in the first cache.
constexpr int64_t kZeroElements = 4096;
template <typename Gradient>
alignas(64) constexpr std::array<Gradient, kZeroElements> kZeroGradient{};

}  // namespace

template <typename Gradient>
typename GradientRuns<Gradient>::Run GradientRuns<Gradient>::next(ElementRange rest) {
  if (touched_rows_.empty()) return {values_ + rest.begin, rest.end, false};
  constexpr auto kBlock = static_cast<int64_t>(kScaleBlockElements);
  rest.end = std::min(rest.end, rest.begin + kZeroElements);
  const int64_t equal_end = end_of_equal_rows(rest);
  const int64_t end = equal_end == rest.end ? rest.end : equal_end / kBlock * kBlock;
  if (end > rest.begin) {
    const bool touched = is_touched(rest.begin / row_elements_);
    return {touched ? values_ + rest.begin : kZeroGradient<Gradient>.data(), end, !touched};
  }
  const ElementRange block{rest.begin, std::min(rest.end, rest.begin + kBlock)};
  return {copy_block(block), block.end, false};
}

template <typename Gradient>
int64_t GradientRuns<Gradient>::end_of_equal_rows(ElementRange rest) const {
  int64_t row = rest.begin / row_elements_;
  const bool touched = is_touched(row);
  while (row * row_elements_ < rest.end && is_touched(row) == touched) ++row;
  return std::min(row * row_elements_, rest.end);
}

template <typename Gradient>
const Gradient* GradientRuns<Gradient>::copy_block(ElementRange block) {
  for (int64_t at = block.begin; at < block.end;) {
    const int64_t end = end_of_equal_rows({at, block.end});
    Gradient* const to = mixed_block_.data() + (at - block.begin);
    if (is_touched(at / row_elements_)) {
      std::copy(values_ + at, values_ + end, to);
    } else {
      std::fill_n(to, end - at, Gradient{});
    }
    at = end;
  }
  return mixed_block_.data();
}

template class GradientRuns<bf16_bits>;
template class GradientRuns<float>;

}  // namespace penstock
