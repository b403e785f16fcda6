#include "streaming/generation_handlers.h"

#include <algorithm>

#include "core/check.h"
#include "streaming/device_handlers.h"
#include "streaming/embedding_rows.h"

namespace penstock {
namespace {

uint64_t layout_hash(const GenerationWork& work, const OpContext& context) {
  return slot_layout(*work.memory, *work.head_parts, context).hash();
}

KvCacheView cache_view(const GenerationWork& work, std::span<std::byte> bytes) {
  return {bytes, work.shape.rows, work.shape.kv_capacity, work.inputs->cache_lengths};
}

void embed(const GenerationWork& work, OpContext& context) {
  std::span<const int32_t> tokens = work.inputs->tokens;
  if (context.declares(BufferKind::kHostTokens, Mode::kRead)) {
    const auto sampled = context.read(BufferKind::kHostTokens);
    tokens = {reinterpret_cast<const int32_t*>(sampled.data()), static_cast<size_t>(work.shape.rows)};
  }
  const BatchTable table = batch_table(work.shape);
  const std::span<std::byte> staging = context.write(BufferKind::kEmbedStaging);
  const uint64_t rows_bytes = staging.size() - table.bytes();
  gather_rows(embedding_table(*work.memory, context.read(BufferKind::kHostWire)), wire_dtype(work.shape.format), tokens,
              work.shape.model.hidden_size, staging.first(rows_bytes), work.shape.compute, *work.team);
  table.write(work.inputs->batch, staging.subspan(rows_bytes));
}

void block(const GenerationWork& work, OpContext& context) {
  context.check_slot(BufferKind::kWeightSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kWeightSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto output = context.write(BufferKind::kActivation);
  const auto workspace = context.write(BufferKind::kWorkspace);
  const KvCacheView cache = cache_view(work, context.write(BufferKind::kKvCache));
  const BatchView batch = on_device(work.shape, context, work.inputs->batch);
  Decoder* decoder = work.decoder;
  const int64_t index = context.op().layer - 1;
  if (context.op().kind == OpKind::kPrefill) {
    launch_compute(context, *work.maths,
                   [=] { decoder->prefill(index, weights, input, output, cache, workspace, batch); });
  } else {
    launch_compute(context, *work.maths,
                   [=] { decoder->decode(index, weights, input, output, cache, workspace, batch); });
  }
}

void logits(const GenerationWork& work, OpContext& context) {
  context.check_slot(BufferKind::kHeadSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kHeadSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto bytes = context.write(BufferKind::kLogits);
  const std::span<float> output(reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float));
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = work.inputs->batch;
  const std::span<const int32_t> last_positions = work.inputs->last_positions;
  Decoder* decoder = work.decoder;
  const int part = std::max(context.op().part, 0);
  launch_compute(context, *work.maths,
                 [=] { decoder->logits(part, weights, input, last_positions, output, workspace, batch); });
}

void sample(const GenerationWork& work, OpContext& context) {
  const auto bytes = context.read(BufferKind::kHostLogits);
  const auto tokens = context.write(BufferKind::kHostTokens);
  const size_t rows = static_cast<size_t>(work.shape.rows);
  CHECK_GE(tokens.size(), rows * sizeof(int32_t));
  work.inputs->sample({reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)},
                      {reinterpret_cast<int32_t*>(tokens.data()), rows});
}

}  // namespace

void add_generation_handlers(OpHandlers& handlers, const GenerationWork& work) {
  handlers.set(OpKind::kEmbed, [work](OpContext& context) { embed(work, context); });
  handlers.set(OpKind::kPrefill, [work](OpContext& context) { block(work, context); });
  handlers.set(OpKind::kDecode, [work](OpContext& context) { block(work, context); });
  handlers.set(OpKind::kLogits, [work](OpContext& context) { logits(work, context); });
  handlers.set(OpKind::kOffloadLogits, [](OpContext& context) {
    context.copy(context.write(BufferKind::kHostLogits), context.read(BufferKind::kLogits));
  });
  handlers.set(OpKind::kSample, [work](OpContext& context) { sample(work, context); });
}

}  // namespace penstock
