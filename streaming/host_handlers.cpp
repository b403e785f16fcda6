#include "streaming/host_handlers.h"

#include <cmath>
#include <vector>

#include "core/check.h"
#include "core/error.h"
#include "model/layer_specs.h"
#include "streaming/embedding_rows.h"
#include "streaming/update_progress.h"

namespace penstock {
namespace {

constexpr int kEmbeddingLayer = 0;

template <typename T>
const T& as(std::span<const std::byte> bytes) {
  CHECK_GE(bytes.size(), sizeof(T));
  return *reinterpret_cast<const T*>(bytes.data());
}

template <typename T>
T& as(std::span<std::byte> bytes) {
  CHECK_GE(bytes.size(), sizeof(T));
  return *reinterpret_cast<T*>(bytes.data());
}

// The bytes behind the embedding's gradient: one flag a row.
std::span<uint8_t> touched_rows(uint64_t offset, std::span<std::byte> gradient) {
  const std::span<std::byte> flags = gradient.subspan(offset);
  return {reinterpret_cast<uint8_t*>(flags.data()), flags.size()};
}

std::span<const uint8_t> touched_rows(uint64_t offset, std::span<const std::byte> gradient) {
  const std::span<const std::byte> flags = gradient.subspan(offset);
  return {reinterpret_cast<const uint8_t*>(flags.data()), flags.size()};
}

class HostWork {
 public:
  HostWork(const RunShape& shape, ModelMemory& memory, WorkerTeam& team, const StepInputs& inputs)
      : shape_(shape),
        memory_(memory),
        team_(team),
        inputs_(inputs),
        batch_table_(batch_table(shape)),
        touched_rows_offset_(touched_rows_offset(shape)),
        updates_(shape, memory) {}

  void update(OpContext& context) {
    const int layer = context.op().layer;
    if (context.op().piece == kHotRows) updates_.set_hot_rows(inputs_.micro_batches);
    AdamWStep step = inputs_.update;
    step.layer = static_cast<uint32_t>(layer);
    if (context.declares(BufferKind::kDecision, Mode::kRead)) {
      const Decision& decision = as<Decision>(context.read(BufferKind::kDecision));
      CHECK(decision.verdict == Verdict::kApply);
      step.gradient_scale = decision.clip_factor;
    }
    const LayerGradientView gradient = gradient_view(layer, context.read(BufferKind::kHostGradient));
    bool finite = true;
    for (const UpdatePart& part : updates_.take(layer, context.op().piece, inputs_.update_id)) {
      finite &= adamw_update(memory_.layer(layer), gradient, step, team_, part);
    }
    if (finite) return;
    throw Error(ExitCode::kNumericStop,
                "a weight became infinite or NaN; lower training.learning_rate or resume from the last checkpoint");
  }

  void embed(OpContext& context) {
    const MicroBatch& batch = micro_batch(context);
    const std::span<const std::byte> table = embedding_table(memory_, context.read_pieces(BufferKind::kHostWire));
    const std::span<std::byte> staging = context.write(BufferKind::kEmbedStaging);
    const uint64_t rows_bytes = staging.size() - batch_table_.bytes();
    gather_rows(table, wire_dtype(shape_.format), batch.tokens, shape_.model.hidden_size, staging.first(rows_bytes),
                shape_.compute, team_);
    batch_table_.write(batch_view(batch), staging.subspan(rows_bytes));
  }

  void scatter_embed(OpContext& context) {
    std::vector<RowGradients> parts;
    for (size_t m = 0; m < inputs_.micro_batches.size(); ++m) {
      parts.push_back(
          {inputs_.micro_batches[m].tokens, context.read(BufferKind::kEmbedGradientStaging, 0, static_cast<int>(m))});
    }
    const StepRows rows{parts, shape_.compute, shape_.model.hidden_size, shape_.model.pad_token_id};
    std::span<std::byte> gradient = context.write(BufferKind::kHostGradient);
    if (shape_.model.tie_word_embeddings) {
      const TensorPlace& table = embedding_place(memory_.layouts());
      const uint64_t element_bytes = dtype_bytes(shape_.gradient);
      add_row_sums(rows, gradient.subspan(table.offset * element_bytes, table.element_count * element_bytes),
                   shape_.gradient, team_);
      return;
    }
    scatter_rows(rows, gradient.first(touched_rows_offset_), shape_.gradient,
                 touched_rows(touched_rows_offset_, gradient), team_);
  }

  void norm(OpContext& context) {
    as<GradientNorm>(context.write(BufferKind::kNorm)) =
        gradient_norm(gradient_view(context.op().layer, context.read(BufferKind::kHostGradient)), team_);
  }

  void decide(OpContext& context) {
    Decision decision;
    decision.loss = loss_sum(context.read(BufferKind::kHostLoss), inputs_.micro_batches.size()) /
                    static_cast<double>(inputs_.trained_tokens);
    bool finite = std::isfinite(decision.loss);
    double sum_of_squares = 0;
    for (int layer = 0; layer < memory_.layer_count(); ++layer) {
      if (!layout(layer).trains()) continue;
      const GradientNorm& norm = as<GradientNorm>(context.read(BufferKind::kNorm, layer));
      sum_of_squares += norm.sum_of_squares;
      finite &= norm.finite;
    }
    decision.gradient_norm = std::sqrt(sum_of_squares);
    finite &= std::isfinite(decision.gradient_norm);
    decision.clip_factor = finite ? clip_factor(decision.gradient_norm, inputs_.max_grad_norm) : 0.0f;
    decision.verdict = finite ? Verdict::kApply : Verdict::kSkip;
    as<Decision>(context.write(BufferKind::kDecision)) = decision;
  }

 private:
  const LayerLayout& layout(int layer) const { return memory_.layouts()[static_cast<size_t>(layer)]; }

  const MicroBatch& micro_batch(const OpContext& context) const {
    const size_t m = static_cast<size_t>(context.op().micro_batch);
    CHECK_LT(m, inputs_.micro_batches.size());
    return inputs_.micro_batches[m];
  }

  LayerGradientView gradient_view(int layer, std::span<const std::byte> bytes) const {
    LayerGradientView view{&layout(layer), shape_.gradient, bytes, {}};
    view.bytes = bytes.first(layout(layer).trainable_bytes(dtype_bytes(shape_.gradient)));
    if (layer == kEmbeddingLayer) view.touched_rows = touched_rows(touched_rows_offset_, bytes);
    return view;
  }

  RunShape shape_;
  ModelMemory& memory_;
  WorkerTeam& team_;
  const StepInputs& inputs_;
  BatchTable batch_table_;
  uint64_t touched_rows_offset_;  // in the embedding's host gradient
  UpdateProgress updates_;
};

}  // namespace

double loss_sum(std::span<const std::byte> host_loss, size_t micro_batches) {
  CHECK_GE(host_loss.size(), micro_batches * sizeof(double));
  const double* sums = reinterpret_cast<const double*>(host_loss.data());
  double total = 0;
  for (size_t m = 0; m < micro_batches; ++m) total += sums[m];
  return total;
}

void add_host_handlers(OpHandlers& handlers, const RunShape& shape, ModelMemory& memory, WorkerTeam& team,
                       const StepInputs& inputs) {
  auto work = std::make_shared<HostWork>(shape, memory, team, inputs);
  handlers.set(OpKind::kUpdate, [work](OpContext& context) { work->update(context); });
  handlers.set(OpKind::kEmbed, [work](OpContext& context) { work->embed(context); });
  handlers.set(OpKind::kScatterEmbed, [work](OpContext& context) { work->scatter_embed(context); });
  handlers.set(OpKind::kNorm, [work](OpContext& context) { work->norm(context); });
  handlers.set(OpKind::kDecide, [work](OpContext& context) { work->decide(context); });
  // Reading the loss orders the report after everything an evaluation does; the caller takes it from the buffer.
  handlers.set(OpKind::kReport, [](OpContext& context) { (void)context.read(BufferKind::kHostLoss); });
}

}  // namespace penstock
