// Generation with the KV cache against the same tokens without it.
#include "decoder_run.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240613;

void expect_cache_changes_nothing(DType compute, double tolerance, const SwitchCase& switches = {"plain", nullptr}) {
  SCOPED_TRACE(testing::Message() << switches.name << " seed " << kSeed);
  const DecoderCase c = {"generate", 36, 52, 61, 6, 2, 6, 3, 9, {}, switches.set};
  const std::vector<int32_t> prompts = {5, 9, 1};  // right-padded to 9
  constexpr int64_t kNew = 4, kCapacity = 16;
  DecoderRun run(c, DType::kBFloat16, compute);
  LayerWeights weights(run.layouts[1], DType::kBFloat16, kSeed);
  const at::Tensor tokens = random_tensor(kSeed, 1, {c.rows, c.length + kNew, c.hidden}, 1.5).to(at_type(compute));
  GuardedBytes cache_bytes(Decoder::kv_cache_bytes(run.config, compute, c.rows, kCapacity));

  // Without a cache: each row alone, prompt and new tokens in one piece.
  std::vector<at::Tensor> expected;
  for (int64_t row = 0; row < c.rows; ++row) {
    DecoderCase alone = c;
    alone.rows = 1;
    alone.length = prompts[static_cast<size_t>(row)] + kNew;
    DecoderRun full(alone, DType::kBFloat16, compute);
    GuardedBytes input = planned(tokens[row].narrow(0, 0, alone.length), compute);
    full.forward(weights, input, TestBatch(alone, kSeed), /*keep=*/false);
    expected.push_back(values_of(full.output, compute, {alone.length, c.hidden}));
  }

  std::vector<int32_t> lengths(prompts.size(), 0);
  GuardedBytes padded = planned(tokens.narrow(1, 0, c.length), compute);
  const TestBatch batch(c, kSeed);
  run.observed([&](std::span<std::byte> workspace) {
    run.decoder.prefill(0, weights.slab.span(), padded.span(), run.output.span(),
                        {cache_bytes.span(), c.rows, kCapacity, lengths}, workspace, batch.view());
  });
  const at::Tensor prefilled = values_of(run.output, compute, {c.rows, c.length, c.hidden});
  for (int64_t row = 0; row < c.rows; ++row) {
    const int64_t prompt = prompts[static_cast<size_t>(row)];
    const at::Tensor want = expected[static_cast<size_t>(row)].narrow(0, 0, prompt);
    EXPECT_LE(relative_error(prefilled[row].narrow(0, 0, prompt), want), tolerance) << "prompt of row " << row;
  }

  lengths = prompts;
  for (int64_t step = 0; step < kNew; ++step) {
    std::vector<at::Tensor> next;
    for (int64_t row = 0; row < c.rows; ++row) next.push_back(tokens[row][lengths[static_cast<size_t>(row)]]);
    GuardedBytes input = planned(at::stack(next), compute);
    const std::vector<int32_t> starts = {0, 1, 2, 3};
    run.observed([&](std::span<std::byte> workspace) {
      run.decoder.decode(0, weights.slab.span(), input.span(), run.output.span(),
                         {cache_bytes.span(), c.rows, kCapacity, lengths}, workspace,
                         in_host_memory({c.rows, 1, lengths, {}, starts}));
    });
    const at::Tensor decoded = values_of(run.output, compute, {c.rows * c.length, c.hidden});
    for (int64_t row = 0; row < c.rows; ++row) {
      const at::Tensor want = expected[static_cast<size_t>(row)][lengths[static_cast<size_t>(row)]];
      EXPECT_LE(relative_error(decoded[row], want), tolerance) << "row " << row << " step " << step;
    }
    for (int32_t& length : lengths) ++length;
  }
}

TEST(DecoderCache, Float32EqualsNoCache) { expect_cache_changes_nothing(DType::kFloat32, 1e-5); }
TEST(DecoderCache, BFloat16EqualsNoCacheWithinItsRounding) { expect_cache_changes_nothing(DType::kBFloat16, 2e-2); }

TEST(DecoderCache, EverySwitchEqualsNoCache) {
  for (const SwitchCase& switches : switch_cases()) {
    expect_cache_changes_nothing(DType::kFloat32, 1e-5, switches);
    expect_cache_changes_nothing(DType::kBFloat16, 2e-2, switches);
  }
}

TEST(DecoderCache, LogitsAreThoseOfTheAskedPositions) {
  const DecoderCase& c = odd_cases()[1];
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    DecoderRun run(c, DType::kBFloat16, compute);
    LayerWeights weights(run.layouts.back(), DType::kBFloat16, kSeed);
    GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), compute);
    GuardedBytes logits(static_cast<uint64_t>(c.rows * c.vocab) * 4);
    const std::vector<int32_t> last = {20, 0, 7};
    const TestBatch batch(c, kSeed);
    run.observed([&](std::span<std::byte> workspace) {
      run.decoder.logits(0, weights.slab.span(), input.span(), last, logits.as<float>(), workspace, batch.view());
    });
    const at::Tensor x = values_of(input, compute, {c.rows, c.length, c.hidden});
    const at::Tensor rows = at::stack({x[0][20], x[1][0], x[2][7]});
    EXPECT_LE(relative_error(values_of(logits, DType::kFloat32, {c.rows, c.vocab}),
                             reference::logits(run.config, weights.leaves, rows)),
              compute == DType::kFloat32 ? 1e-5 : 2e-2);
  }
}

TEST(DecoderCacheDeathTest, AFullCacheIsABug) {
  const DecoderCase& c = odd_cases()[3];
  DecoderRun run(c, DType::kFloat32, DType::kFloat32);
  LayerWeights weights(run.layouts[1], DType::kFloat32, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {1, c.hidden}, 1.5), DType::kFloat32);
  GuardedBytes cache_bytes(Decoder::kv_cache_bytes(run.config, DType::kFloat32, 1, 4));
  const std::vector<int32_t> lengths = {4}, starts = {0, 1};
  EXPECT_DEATH(run.observed([&](std::span<std::byte> workspace) {
    run.decoder.decode(0, weights.slab.span(), input.span(), run.output.span(), {cache_bytes.span(), 1, 4, lengths},
                       workspace, in_host_memory({1, 1, lengths, {}, starts}));
  }),
               "capacity");
}

}  // namespace
}  // namespace penstock
