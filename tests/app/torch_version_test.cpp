#include "app/torch_version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace penstock {
namespace {

TEST(TorchVersion, TheLoadedLibraryIsTheCompiledOne) { EXPECT_NO_THROW(check_torch_version()); }

TEST(TorchVersion, AnotherReleaseIsRefusedByName) {
  constexpr uint64_t kCompiled = 2ULL << 56 | 11ULL << 48;
  constexpr uint64_t kLoaded = kCompiled | 1ULL << 40;
  try {
    check_torch_version(kCompiled, kLoaded);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDevice);
    EXPECT_THAT(error.what(), testing::HasSubstr("against torch 2.11.0 and torch 2.11.1 was loaded"));
  }
}

}  // namespace
}  // namespace penstock
