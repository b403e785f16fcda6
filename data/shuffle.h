// Seeded permutations: an epoch's documents, its rows, and the validation split. They depend on the seed, the count and
// the epoch only, so a saved cursor finds the same order again. The three are independent of each other.
#pragma once

#include <cstdint>
#include <vector>

namespace penstock {

// 0..count-1 in the order in which `epoch` lays documents into rows (Fisher-Yates over a counter-based generator).
std::vector<int64_t> document_permutation(int64_t count, uint64_t seed, int64_t epoch);

// 0..count-1 in the order in which `epoch` visits its rows.
std::vector<int64_t> row_permutation(int64_t count, uint64_t seed, int64_t epoch);

struct DocumentSplit {
  std::vector<int64_t> training;    // ascending
  std::vector<int64_t> validation;  // ascending
};

// `val_size` in (0, 1): that part, rounded, at least one document; a whole number: that many, at most all; 0: none.
DocumentSplit split_documents(int64_t count, double val_size, uint64_t seed);

}  // namespace penstock
