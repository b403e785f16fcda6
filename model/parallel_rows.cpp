#include "model/parallel_rows.h"

#include <algorithm>

#include <ATen/TensorIterator.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

namespace penstock {

namespace {

// Below this a second thread costs more than it brings.
constexpr int64_t kSmallestTaskElements = 16384;
// The iterator walks this address range, one byte a row, and never reads it.
constexpr uintptr_t kFirstRow = 4096;

}  // namespace

// LibTorch compiles its loops with OpenMP and we may not (a second OpenMP runtime in one process is a bug), so the rows
// are given to it as the elements of an iterator: for_each splits them over its threads.
void parallel_rows(int64_t rows, int64_t row_elements, c10::function_ref<void(int64_t begin, int64_t end)> kernel) {
  const int64_t grain_rows = std::max<int64_t>(1, kSmallestTaskElements / std::max<int64_t>(1, row_elements));
  if (rows <= grain_rows) {
    if (rows > 0) kernel(0, rows);
    return;
  }
  const c10::InferenceMode no_autograd;
  const at::Tensor row_bytes = at::from_blob(reinterpret_cast<void*>(kFirstRow), {rows}, at::kByte);
  at::TensorIterator iterator = at::TensorIteratorConfig()
                                    .add_output(row_bytes)
                                    .check_all_same_dtype(false)
                                    .set_check_mem_overlap(false)
                                    .resize_outputs(false)
                                    .build();
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t count, int64_t repeats) {
        for (int64_t i = 0; i < repeats; ++i) {
          const uintptr_t place = reinterpret_cast<uintptr_t>(data[0]) + static_cast<uintptr_t>(i * strides[1]);
          const auto begin = static_cast<int64_t>(place - kFirstRow);
          kernel(begin, begin + count);
        }
      },
      grain_rows);
}

}  // namespace penstock
