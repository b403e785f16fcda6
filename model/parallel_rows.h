// Runs a row kernel on LibTorch's own intra-op threads.
// Not a second pool: LibTorch's OpenMP threads spin after each call, and another team would fight them for the cores.
// Kernels must give each row the same result however the rows are split.
#pragma once

#include <cstdint>

#include <c10/util/FunctionRef.h>

namespace penstock {

// Calls kernel(begin, end) over disjoint ranges that cover [0, rows), and returns when all are done. `row_elements`
// (work of one row) keeps small jobs on the calling thread. The kernel may not call ATen and may not throw.
void parallel_rows(int64_t rows, int64_t row_elements, c10::function_ref<void(int64_t begin, int64_t end)> kernel);

}  // namespace penstock
