// A range of a tensor's gradient as runs of contiguous values, whatever the touched rows are: rows that no token
// touched read zeros from a small array, and their own bytes are never read.
// Runs start on borders of scale blocks, where every state format can be cut: a block with both kinds of rows is copied
// together.
#pragma once

#include <array>
#include <cstdint>

#include "core/bf16.h"
#include "optim/host_optimizer.h"
#include "optim/row_ranges.h"

namespace penstock {

template <typename Gradient>
class GradientRuns {
 public:
  struct Run {
    const Gradient* values;
    int64_t end;
    bool is_zero;  // rows that no token touched; `values` are zeros
  };

  GradientRuns(const LayerGradientView& gradient, const TensorPlace& tensor)
      : values_(reinterpret_cast<const Gradient*>(gradient.bytes.data()) + tensor.offset),
        touched_rows_(gradient.touched_rows),
        row_elements_(touched_rows_.empty() ? 0 : static_cast<int64_t>(tensor.element_count / touched_rows_.size())) {}

  // The run that starts at rest.begin, a border of scale blocks. Valid until the next call.
  Run next(ElementRange rest);

 private:
  bool is_touched(int64_t row) const { return touched_rows_[static_cast<size_t>(row)] != 0; }
  int64_t end_of_equal_rows(ElementRange rest) const;
  const Gradient* copy_block(ElementRange block);

  const Gradient* values_;
  std::span<const uint8_t> touched_rows_;
  int64_t row_elements_;
  alignas(64) std::array<Gradient, kScaleBlockElements> mixed_block_;
};

}  // namespace penstock
