// The decoder on a card: every switch against the host in fp32, bf16 within its rounding, and bits that repeat.
#include "card.h"
#include "gpu_test.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20260123;

StepResults on_host(const DecoderCase& c, const StepOptions& options) {
  HostMaths maths(2);
  GuardedMemory memory;
  return DecoderSteps(c, options, Backend::kHost, maths, memory, kSeed).run();
}

StepResults on_card(const DecoderCase& c, const StepOptions& options, const CudaNumerics& numerics = {}) {
  Card card(numerics);
  CardMemory memory(card.stream());
  return DecoderSteps(c, options, Backend::kCuda, card.maths(), memory, kSeed).run();
}

std::vector<DecoderCase> cases() {
  std::vector<DecoderCase> cases = odd_cases();
  for (const SwitchCase& switches : switch_cases()) {
    const std::string name = switches.name;
    cases.push_back({name + "_packed", 30, 44, 37, 6, 2, 10, 3, 25, {4, 5, 17, 50}, switches.set});
    cases.push_back({name + "_rows", 64, 128, 150, 4, 1, 32, 2, 200, {}, switches.set});
  }
  return cases;
}

class GpuDecoder : public testing::TestWithParam<DecoderCase> {};

TEST_P(GpuDecoder, EqualsTheHostInFloat32) {
  PENSTOCK_REQUIRE_GPU();
  const StepOptions options = {.wire = DType::kBFloat16, .compute = DType::kFloat32};
  expect_close(on_card(GetParam(), options), on_host(GetParam(), options), 1e-5, 1e-4);
}

TEST_P(GpuDecoder, AgreesWithTheHostInBFloat16) {
  PENSTOCK_REQUIRE_GPU();
  const StepOptions options = {.wire = DType::kBFloat16, .compute = DType::kBFloat16};
  const double tolerance = config_of(GetParam()).qkv_bias ? 5e-2 : 2e-2;
  expect_close(on_card(GetParam(), options), on_host(GetParam(), options), 2e-3, tolerance);
}

TEST_P(GpuDecoder, RepeatsItsBitsInDeterministicMode) {
  PENSTOCK_REQUIRE_GPU();
  const StepOptions options = {.wire = DType::kBFloat16, .compute = DType::kBFloat16};
  const CudaNumerics deterministic = {.deterministic = true};
  expect_close(on_card(GetParam(), options, deterministic), on_card(GetParam(), options, deterministic), 0, 0);
}

INSTANTIATE_TEST_SUITE_P(Cases, GpuDecoder, testing::ValuesIn(cases()),
                         [](const auto& tested) { return tested.param.name; });

TEST(GpuDecoderHead, InPartsAndInChunksEqualsTheHosts) {
  PENSTOCK_REQUIRE_GPU();
  const DecoderCase c = {"parts", 30, 44, 370, 6, 2, 10, 3, 25, {4, 5, 17, 50}};
  for (const int parts : {1, 3}) {
    const StepOptions options = {.head_parts = parts, .loss_chunk_tokens = 11};
    expect_close(on_card(c, options), on_host(c, options), 1e-5, 1e-4);
  }
}

}  // namespace
}  // namespace penstock
