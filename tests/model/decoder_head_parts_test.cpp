// The head in parts against the head in one piece.
#include "decoder_run.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 20240616;
constexpr double kScale = 0.37;

struct HeadGradients {
  double loss = 0;
  at::Tensor d_input, norm, lm_head;
};

// A head's weights cut into the slabs of its parts.
GuardedBytes part_slab(const LayerWeights& whole, const LayerLayout& part, const RowRange& rows, DType wire) {
  GuardedBytes slab(part.slab_bytes(dtype_bytes(wire)));
  std::memset(slab.span().data(), 0, slab.span().size());
  for (const TensorPlace& place : part.tensors()) {
    at::Tensor values = whole.leaves.at(LayerWeights::short_name(place)).detach();
    if (place.spec.shape.size() == 2) values = values.narrow(0, rows.first, rows.count());
    const at::Tensor rounded = values.to(at_type(wire)).contiguous();
    std::memcpy(slab.span().data() + place.offset * dtype_bytes(wire), rounded.const_data_ptr(), rounded.nbytes());
  }
  return slab;
}

void add_ramp(at::Tensor& lm_head, double slope, double level) {
  const double step = slope / static_cast<double>(lm_head.numel());
  const double start = level / static_cast<double>(lm_head.size(1));
  const at::Tensor ramp = at::arange(lm_head.size(0), at::kDouble).mul(step).add(start).unsqueeze(1);
  lm_head = (lm_head.detach() + ramp).to(at::kBFloat16).to(at::kDouble);
}

at::Tensor gradient_tensor(std::span<float> gradient, const TensorPlace& place) {
  if (!place.spec.trainable) return {};
  return at::from_blob(gradient.data() + place.offset, place.spec.shape, at::kFloat).to(at::kDouble);
}

// The head as the caller of either way sees it: two micro-batches into gradients that held something else.
class HeadInParts {
 public:
  // A ramp over the vocabulary is added to the lm_head: at its start so much in each logit of a positive hidden state
  // as `level` says, over all of it `slope` more.
  HeadInParts(const DecoderCase& c, DType compute, int64_t chunk_tokens, const TrainablePatterns& trainable, int parts,
              double slope = 0, double level = 0)
      : c_(c),
        compute_(compute),
        parts_(parts),
        trainable_(trainable),
        run_(c, DType::kBFloat16, compute, chunk_tokens, trainable, parts),
        whole_(run_.layouts.back(), DType::kBFloat16, kSeed),
        statistics_(static_cast<uint64_t>(3 * c.rows * c.length) * sizeof(float)),
        d_normed_(static_cast<uint64_t>(c.rows * c.length * c.hidden) * sizeof(float)) {
    at::Tensor& lm_head = whole_.leaves.at(run_.config.tie_word_embeddings ? "embed_tokens" : "lm_head");
    if (slope != 0 || level != 0) add_ramp(lm_head, slope, level);
    for (int part = 0; part < parts; ++part) {
      layouts_.push_back(head_part_layout(run_.config, trainable, parts, part));
      slabs_.push_back(part_slab(whole_, layouts_.back(), rows(part), DType::kBFloat16));
      gradients_.emplace_back(layouts_.back().trainable_bytes(sizeof(float)));
    }
  }

  void step(GuardedBytes& input, const TestBatch& batch, bool accumulate, bool wants_input) {
    for (int part = 0; part < parts_; ++part) {
      run_.observed([&](std::span<std::byte> workspace) {
        run_.decoder.head_statistics(part, slab(part), input.span(), statistics_.as<float>(), &result_.loss, workspace,
                                     batch.view());
      });
    }
    const bool below = wants_input || layouts_[0].tensor("model.norm.weight").spec.trainable;
    for (int part = parts_ - 1; part >= 0; --part) {
      run_.observed([&](std::span<std::byte> workspace) {
        run_.decoder.head_part_gradient(
            part, slab(part), input.span(), statistics_.as<float>(), below ? d_normed_.as<float>() : std::span<float>{},
            wants_input && part == 0 ? run_.d_input.span() : std::span<std::byte>{},
            gradients_[static_cast<size_t>(part)].as<float>(), accumulate, kScale, workspace, batch.view());
      });
    }
  }

  HeadGradients result(bool wants_input) {
    HeadGradients result = result_;
    if (wants_input) result.d_input = values_of(run_.d_input, compute_, {c_.rows * c_.length, c_.hidden});
    std::vector<at::Tensor> rows;
    for (int part = 0; part < parts_; ++part) {
      const std::span<float> gradient = gradients_[static_cast<size_t>(part)].as<float>();
      const LayerLayout& layout = layouts_[static_cast<size_t>(part)];
      const at::Tensor norm = gradient_tensor(gradient, layout.tensors().front());
      if (part == 0) result.norm = norm;
      if (part > 0 && norm.defined()) {
        EXPECT_EQ(norm.abs().sum().item<double>(), 0.0) << "norm of part " << part;
      }
      const at::Tensor lm_head = gradient_tensor(gradient, layout.tensors().back());
      if (lm_head.defined()) rows.push_back(lm_head);
    }
    if (!rows.empty()) result.lm_head = at::cat(rows, 0);
    return result;
  }

  at::Tensor logits(GuardedBytes& input, const TestBatch& batch, std::span<const int32_t> last) {
    GuardedBytes logits(static_cast<uint64_t>(c_.rows * c_.vocab) * sizeof(float));
    for (int part = 0; part < parts_; ++part) {
      run_.observed([&](std::span<std::byte> workspace) {
        run_.decoder.logits(part, slab(part), input.span(), last, logits.as<float>(), workspace, batch.view());
      });
    }
    return values_of(logits, DType::kFloat32, {c_.rows, c_.vocab});
  }

  LayerWeights& whole() { return whole_; }
  std::span<float> d_normed() { return d_normed_.as<float>(); }
  std::span<float> statistics() { return statistics_.as<float>(); }
  DecoderRun& run() { return run_; }

 private:
  RowRange rows(int part) const { return head_part_rows(c_.vocab, parts_, part); }
  std::span<std::byte> slab(int part) { return slabs_[static_cast<size_t>(part)].span(); }

  DecoderCase c_;
  DType compute_;
  int parts_;
  TrainablePatterns trainable_;
  DecoderRun run_;
  LayerWeights whole_;
  std::vector<LayerLayout> layouts_;
  std::vector<GuardedBytes> slabs_, gradients_;
  GuardedBytes statistics_, d_normed_;
  HeadGradients result_;
};

HeadGradients in_one_piece(const DecoderCase& c, DType compute, const TrainablePatterns& trainable, GuardedBytes& input,
                           const TestBatch& batch, bool wants_input) {
  DecoderRun run(c, DType::kBFloat16, compute, 1024, trainable);
  LayerWeights weights(run.layouts.back(), DType::kBFloat16, kSeed);
  GuardedBytes gradient(weights.layout.trainable_bytes(sizeof(float)));
  HeadGradients result;
  for (const bool accumulate : {false, true}) {
    result.loss = run.loss(weights, input, gradient.as<float>(), accumulate, kScale, batch, wants_input);
  }
  if (wants_input) result.d_input = values_of(run.d_input, compute, {c.rows * c.length, c.hidden});
  result.norm = gradient_tensor(gradient.as<float>(), weights.layout.tensors().front());
  result.lm_head = gradient_tensor(gradient.as<float>(), weights.layout.tensors().back());
  return result;
}

void expect_near(const HeadGradients& actual, const HeadGradients& expected, double loss_tolerance,
                 double gradient_tolerance) {
  EXPECT_NEAR(actual.loss, expected.loss, loss_tolerance * expected.loss);
  const auto expect_tensor = [&](const at::Tensor& a, const at::Tensor& b, const char* name) {
    ASSERT_EQ(a.defined(), b.defined()) << name;
    if (!a.defined()) return;
    EXPECT_LE(relative_error(a, b), gradient_tolerance) << name;
  };
  expect_tensor(actual.d_input, expected.d_input, "d_input");
  expect_tensor(actual.norm, expected.norm, "norm");
  expect_tensor(actual.lm_head, expected.lm_head, "lm_head");
}

void tie(ModelConfig& config) { config.tie_word_embeddings = true; }

class DecoderHeadParts : public testing::TestWithParam<DecoderCase> {};

TEST_P(DecoderHeadParts, EqualTheHeadInOnePieceForAnyPartsAndChunks) {
  const DecoderCase& c = GetParam();
  const TestBatch batch(c, kSeed);
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    const bool exact = compute == DType::kFloat32;
    GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), compute);
    const HeadGradients expected = in_one_piece(c, compute, {}, input, batch, true);
    for (int parts = 1; parts <= 5; ++parts) {
      for (const int64_t chunk_tokens : {3, 1024}) {
        SCOPED_TRACE(testing::Message() << parts << " parts, chunk " << chunk_tokens << ", exact " << exact << " seed "
                                        << kSeed);
        HeadInParts head(c, compute, chunk_tokens, {}, parts);
        head.step(input, batch, false, true);
        head.step(input, batch, true, true);
        expect_near(head.result(true), expected, exact ? 1e-6 : 2e-3, exact ? 1e-5 : 2e-2);
      }
    }
  }
}

TEST_P(DecoderHeadParts, EqualTheHeadInOnePieceForAnyFrozenTensors) {
  const DecoderCase& c = GetParam();
  const TestBatch batch(c, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  for (const char* pattern : {"model.norm.weight", "lm_head.weight", "model.embed_tokens.weight", "model.layers.*"}) {
    for (const bool wants_input : {true, false}) {
      if (!wants_input && std::string(pattern) == "model.layers.*") continue;  // nothing to compute
      SCOPED_TRACE(testing::Message() << pattern << " input " << wants_input << " seed " << kSeed);
      HeadInParts head(c, DType::kFloat32, 7, {pattern}, 3);
      head.step(input, batch, false, wants_input);
      head.step(input, batch, true, wants_input);
      expect_near(head.result(wants_input), in_one_piece(c, DType::kFloat32, {pattern}, input, batch, wants_input),
                  1e-6, 1e-5);
    }
  }
}

TEST_P(DecoderHeadParts, WithoutTrainedTargetsEverythingIsZero) {
  const DecoderCase& c = GetParam();
  TestBatch batch(c, kSeed);
  std::fill(batch.targets.begin(), batch.targets.end(), kUntrainedTarget);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  HeadInParts head(c, DType::kFloat32, 7, {}, 3);
  head.step(input, batch, false, true);
  const HeadGradients zero = head.result(true);
  EXPECT_EQ(zero.loss, 0.0);
  for (const at::Tensor& tensor : {zero.d_input, zero.norm, zero.lm_head}) {
    EXPECT_EQ(tensor.abs().sum().item<double>(), 0.0);
  }
  for (const float value : head.d_normed()) ASSERT_EQ(value, 0.0f);
  for (const float value : head.statistics()) ASSERT_EQ(value, 0.0f);
}

// Logits that rise or fall over the vocabulary, by little and by far: the running maximum moves in every part or in
// none.
TEST_P(DecoderHeadParts, SteepLogitsGiveTheLossOfTheWhole) {
  const DecoderCase& c = GetParam();
  const TestBatch batch(c, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 0.5) + 2, DType::kFloat32);
  const at::Tensor x = values_of(input, DType::kFloat32, {c.rows * c.length, c.hidden});
  // The last two: every logit lies far below zero.
  for (const auto& [slope, level] :
       std::vector<std::pair<double, double>>{{-900, 0}, {-60, 0}, {60, 0}, {900, 0}, {-60, -300}, {60, -300}}) {
    HeadInParts head(c, DType::kFloat32, 1024, {}, 4, slope, level);
    const at::Tensor expected = reference::loss_sum(head.run().config, head.whole().leaves, x, batch.view());
    head.step(input, batch, false, true);
    const HeadGradients result = head.result(true);
    const double tolerance = level == 0 ? 1e-6 : 2e-5;  // fp32 logits of -300 are that coarse
    EXPECT_NEAR(result.loss / expected.item<double>(), 1.0, tolerance) << "slope " << slope << " seed " << kSeed;
    EXPECT_TRUE(at::isfinite(result.lm_head).all().item<bool>()) << "slope " << slope << " seed " << kSeed;
  }
}

TEST_P(DecoderHeadParts, LogitsOfThePartsAreThoseOfTheWhole) {
  const DecoderCase& c = GetParam();
  const TestBatch batch(c, kSeed);
  GuardedBytes input = planned(random_tensor(kSeed, 1, {c.rows * c.length, c.hidden}, 1.5), DType::kFloat32);
  std::vector<int32_t> last;
  std::vector<at::Tensor> rows;
  const at::Tensor x = values_of(input, DType::kFloat32, {c.rows, c.length, c.hidden});
  for (int64_t row = 0; row < c.rows; ++row) {
    last.push_back(static_cast<int32_t>((5 * row + 3) % c.length));
    rows.push_back(x[row][last.back()]);
  }
  for (int parts = 1; parts <= 5; ++parts) {
    HeadInParts head(c, DType::kFloat32, 1024, {}, parts);
    const at::Tensor expected = reference::logits(head.run().config, head.whole().leaves, at::stack(rows));
    EXPECT_LE(relative_error(head.logits(input, batch, last), expected), 1e-5) << parts << " parts, seed " << kSeed;
  }
}

TEST_P(DecoderHeadParts, WorkspaceShrinksWithTheParts) {
  DecoderCase c = GetParam();
  c.vocab = 5003;
  const auto workspace = [&](int parts) {
    return DecoderRun(c, DType::kBFloat16, DType::kFloat32, 1024, {}, parts).bytes.workspace;
  };
  EXPECT_LT(workspace(4), workspace(1) / 2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, DecoderHeadParts,
                         testing::Values(DecoderCase{"odd", 30, 44, 37, 6, 2, 10, 3, 13, {}},
                                         DecoderCase{"tied", 36, 52, 61, 3, 1, 6, 2, 21, {4, 5, 17, 30}, &tie},
                                         DecoderCase{"wide", 64, 64, 640, 4, 4, 16, 2, 9, {}}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace penstock
