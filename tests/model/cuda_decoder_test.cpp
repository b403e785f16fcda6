// The decoder over CudaMaths without a card against the decoder on the host: every switch, in fp32 up to rounding, in
// bf16 within bf16's.
#include "decoder_steps.h"

#include "model/cuda/emulated_kernel_set.h"
#include "model/cuda_maths.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20260121;

StepResults on_host(const DecoderCase& c, const StepOptions& options) {
  HostMaths maths(2);
  GuardedMemory memory;
  return DecoderSteps(c, options, Backend::kHost, maths, memory, kSeed).run();
}

StepResults emulated(const DecoderCase& c, const StepOptions& options) {
  CudaMaths maths(c10::kCPU, nullptr, make_emulated_kernel_set(32));
  GuardedMemory memory;
  return DecoderSteps(c, options, Backend::kCuda, maths, memory, kSeed).run();
}

std::vector<DecoderCase> cases() {
  std::vector<DecoderCase> cases;
  for (const DecoderCase& c : odd_cases()) {
    if (c.rows * c.length <= 70) cases.push_back(c);
  }
  for (const SwitchCase& switches : switch_cases()) {
    const std::string name = switches.name;
    cases.push_back({name + "_packed", 30, 44, 37, 6, 2, 10, 2, 13, {4, 5, 14}, switches.set});
    cases.push_back({name + "_rows", 32, 64, 50, 4, 1, 16, 2, 11, {}, switches.set});
  }
  return cases;
}

class CudaDecoder : public testing::TestWithParam<DecoderCase> {};

TEST_P(CudaDecoder, EqualsTheHostInFloat32) {
  const DType wire = GetParam().cuts.empty() ? DType::kBFloat16 : DType::kFloat32;
  const StepOptions options = {.wire = wire, .compute = DType::kFloat32};
  expect_close(emulated(GetParam(), options), on_host(GetParam(), options), 1e-6, 1e-5);
}

// Both round at every op; a key's bias has a gradient that is a difference of larger numbers.
TEST_P(CudaDecoder, AgreesWithTheHostInBFloat16) {
  const StepOptions options = {.wire = DType::kBFloat16, .compute = DType::kBFloat16};
  const double tolerance = config_of(GetParam()).qkv_bias ? 5e-2 : 2e-2;
  expect_close(emulated(GetParam(), options), on_host(GetParam(), options), 2e-3, tolerance);
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaDecoder, testing::ValuesIn(cases()),
                         [](const auto& tested) { return tested.param.name; });

TEST(CudaDecoderHead, InPartsAndInChunksEqualsTheHosts) {
  const DecoderCase c = {"parts", 30, 44, 37, 6, 2, 10, 3, 25, {4, 5, 17, 50}};
  for (const int parts : {1, 3}) {
    const StepOptions options = {.head_parts = parts, .loss_chunk_tokens = 11};
    expect_close(emulated(c, options), on_host(c, options), 1e-6, 1e-5);
  }
}

TEST(CudaDecoderFrozen, TrainsTheSameTensors) {
  const DecoderCase c = {"frozen", 32, 64, 50, 4, 1, 16, 2, 20, {}, [](ModelConfig& config) {
                           config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
                         }};
  for (const TrainablePatterns& trainable : {TrainablePatterns{"*norm*"}, TrainablePatterns{"*k_proj*", "*lm_head*"},
                                             TrainablePatterns{"*down_proj*"}, TrainablePatterns{"*.bias"}}) {
    const StepOptions options = {.trainable = trainable};
    expect_close(emulated(c, options), on_host(c, options), 1e-6, 1e-5);
  }
}

// The emulation sums in one order: recomputing a step gives its bits.
TEST(CudaDecoderBits, RepeatThemselves) {
  const DecoderCase c = {"repeat", 32, 64, 50, 4, 1, 16, 2, 20, {13}};
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    const StepOptions options = {.wire = DType::kBFloat16, .compute = compute};
    expect_close(emulated(c, options), emulated(c, options), 0, 0);
  }
}

}  // namespace
}  // namespace penstock
