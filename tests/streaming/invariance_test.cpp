// The invariances on the host device, and what may change only in rounding.
#include "invariance_suite.h"

namespace penstock {
namespace {

INSTANTIATE_TEST_SUITE_P(Models, Invariance, testing::ValuesIn(invariance_cases(host_platform())),
                         invariance_case_name);

// M micro-batches of one row are one micro-batch of M rows up to rounding, even when rows differ wildly in trained
// tokens.
TEST(Accumulation, MicroBatchesAgreeWithOneLargeBatch) {
  TinySettings split;
  split.rows = 1;
  split.micro_batches = 4;
  split.max_grad_norm = 0;
  TinySettings joined = split;
  joined.rows = 4;
  joined.micro_batches = 1;
  StepBatch parts = tiny_step(split, 3);
  // One row trains a single token, another all it can.
  auto& sparse = parts.micro_batches[1];
  for (size_t i = 0; i < sparse.targets.size(); ++i) sparse.targets[i] = i == 2 ? 5 : kIgnoredTarget;
  parts.trained_tokens += 1 - sparse.trained_tokens;
  sparse.trained_tokens = 1;
  StepBatch whole;
  MicroBatch& all = whole.micro_batches.emplace_back();
  all.rows = 4;
  all.length = split.length;
  for (const MicroBatch& part : parts.micro_batches) {
    const auto offset = static_cast<int32_t>(all.tokens.size());
    all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
    all.positions.insert(all.positions.end(), part.positions.begin(), part.positions.end());
    all.targets.insert(all.targets.end(), part.targets.begin(), part.targets.end());
    for (size_t i = 0; i + 1 < part.segment_starts.size(); ++i)
      all.segment_starts.push_back(part.segment_starts[i] + offset);
  }
  all.segment_starts.push_back(static_cast<int32_t>(all.tokens.size()));
  all.trained_tokens = whole.trained_tokens = parts.trained_tokens;
  TinyRun split_run(split);
  TinyRun joined_run(joined);
  const StepReport a = split_run.trainer().step(parts);
  const StepReport b = joined_run.trainer().step(whole);
  EXPECT_NEAR(a.loss, b.loss, 1e-5 * b.loss);
  EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5 * b.gradient_norm);
  for (int layer = 0; layer < split_run.memory().layer_count(); ++layer) {
    const auto x = split_run.engine().host_bytes(BufferKind::kHostGradient, layer);
    const auto y = joined_run.engine().host_bytes(BufferKind::kHostGradient, layer);
    const size_t count = split_run.memory().layouts()[static_cast<size_t>(layer)].slab_elements();
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < count; ++i) {
      const double p = reinterpret_cast<const float*>(x.data())[i];
      const double q = reinterpret_cast<const float*>(y.data())[i];
      difference += (p - q) * (p - q);
      norm += q * q;
    }
    EXPECT_LT(difference, 1e-10 * norm) << "layer " << layer;
  }
}

}  // namespace
}  // namespace penstock
