// The copy into the cache, bit by bit, and that nothing beside it changes.
#include "kernel_suite.h"

namespace penstock {
namespace {

struct CacheCase {
  int64_t rows, length, capacity, query_width, kv_width;
};
constexpr CacheCase kCacheCases[] = {
    {1, 1, 1, 2, 1}, {2, 3, 7, 6, 3}, {3, 1, 9, 64, 32}, {2, 5, 5, 128, 64}, {1, 4, 6, 33, 33}, {2, 2, 4, 520, 260},
};

void check_append_to_cache(KernelRig& rig, DType dtype, const CacheCase& c) {
  SCOPED_TRACE(std::string(dtype_name(dtype)) + ", keys of " + std::to_string(c.kv_width));
  const int64_t tokens = c.rows * c.length, row_elements = c.query_width + 2 * c.kv_width;
  const std::vector<double> qkv = random_values(dtype, 21, tokens * row_elements);
  std::vector<double> keys = random_values(dtype, 22, c.rows * c.capacity * c.kv_width);
  std::vector<double> values = random_values(dtype, 23, c.rows * c.capacity * c.kv_width);
  void* device_keys = rig.put(dtype, keys);
  void* device_values = rig.put(dtype, values);
  std::vector<int32_t> positions;
  for (int64_t token = 0; token < tokens; ++token) {
    const int64_t row = token / c.length, begin = row % (c.capacity - c.length + 1);
    const int64_t place = begin + token % c.length;
    positions.push_back(static_cast<int32_t>(place));
    for (int64_t i = 0; i < c.kv_width; ++i) {
      const auto from = static_cast<size_t>(token * row_elements + c.query_width + i);
      const auto to = static_cast<size_t>((row * c.capacity + place) * c.kv_width + i);
      keys[to] = qkv[from];
      values[to] = qkv[from + static_cast<size_t>(c.kv_width)];
    }
  }
  rig.kernels().append_to_cache(
      dtype, CacheAppendRows{tokens, c.length, c.capacity, row_elements, c.query_width, c.kv_width, rig.put(positions),
                             rig.put(dtype, qkv), device_keys, device_values});
  EXPECT_EQ(rig.get(dtype, device_keys, keys.size()), keys);
  EXPECT_EQ(rig.get(dtype, device_values, values.size()), values);
}

void check_every_append_to_cache(KernelRig& rig) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const CacheCase& cache_case : kCacheCases) check_append_to_cache(rig, dtype, cache_case);
  }
}

TEST_P(KernelSuite, KeysAndValuesGoToTheirPlaces) { check_every_append_to_cache(rig()); }

}  // namespace
}  // namespace penstock
