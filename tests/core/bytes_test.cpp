#include "core/bytes.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace penstock {
namespace {

TEST(Bytes, AlignUp) {
  EXPECT_EQ(align_up(0, 256), 0u);
  EXPECT_EQ(align_up(1, 256), 256u);
  EXPECT_EQ(align_up(256, 256), 256u);
  EXPECT_EQ(align_up(257, 3), 258u);
}

TEST(Bytes, CheckedMultiplyNamesWhatOverflows) {
  EXPECT_EQ(checked_multiply(UINT64_MAX / 2, 2, "x"), UINT64_MAX - 1);
  try {
    checked_multiply(uint64_t{1} << 33, uint64_t{1} << 31, "embedding");
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_STREQ(error.what(), "embedding: 8589934592 x 2147483648 does not fit 64 bits; use a smaller size");
  }
}

TEST(Bytes, FormatShowsThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(kKiB), "1.00 KiB");
  EXPECT_EQ(format_bytes(kGiB + kGiB / 2), "1.50 GiB");
  EXPECT_EQ(format_bytes(12 * kMiB), "12.0 MiB");
  EXPECT_EQ(format_bytes(512 * kMiB), "512 MiB");
  EXPECT_EQ(format_bytes(10 * kMiB - 1), "10.0 MiB");
  EXPECT_EQ(format_bytes(kMiB - 1), "1.00 MiB");
  EXPECT_EQ(format_bytes(UINT64_MAX), "16.0 EiB");
}

}  // namespace
}  // namespace penstock
