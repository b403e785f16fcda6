#include "streaming/device_handlers.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/bf16.h"
#include "core/check.h"

namespace penstock {
namespace {

std::span<float> as_floats(std::span<std::byte> bytes) {
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

const LayerLayout& slot_layout(const DeviceWork& work, const OpContext& context) {
  return slot_layout(*work.memory, *work.head_parts, context);
}

uint64_t layout_hash(const DeviceWork& work, const OpContext& context) { return slot_layout(work, context).hash(); }

BatchView micro_batch(const DeviceWork& work, const OpContext& context) {
  const size_t m = static_cast<size_t>(context.op().micro_batch);
  CHECK_LT(m, work.inputs->micro_batches.size());
  return on_device(work.shape, context, batch_view(work.inputs->micro_batches[m]));
}

// The head's copies are its own buffers; blocks share slots. An op declares exactly one of the two.
BufferKind declared(const OpContext& context, Mode mode, BufferKind block, BufferKind head) {
  return context.declares(head, mode) ? head : block;
}

// Calls copy(place in the part's slab, first element in the head's slab) for every tensor of a part of the head.
template <typename Copy>
void for_each_tensor_of_part(const DeviceWork& work, const OpContext& context, const Copy& copy) {
  const std::vector<TensorPlace>& whole = work.memory->layouts().back().tensors();
  const std::vector<TensorPlace>& part = slot_layout(work, context).tensors();
  const RowRange rows = head_part_rows(work.shape.model.vocab_size, work.shape.head_parts, context.op().part);
  for (size_t i = 0; i < part.size(); ++i) {
    const bool is_matrix = part[i].spec.shape.size() > 1;
    const auto skipped = is_matrix ? static_cast<uint64_t>(rows.first * part[i].spec.shape[1]) : 0;
    copy(part[i], whole[i].offset + skipped);
  }
}

// The slot carries the layer's tag when its last piece is on the way.
void fetch_piece(const DeviceWork& work, OpContext& context, BufferKind slot) {
  const int layer = context.op().layer;
  const std::span<const std::byte> piece = context.read(BufferKind::kHostWire);
  const auto offset = static_cast<size_t>(piece.data() - work.memory->layer(layer).wire.data());
  context.copy(context.write(slot).subspan(offset, piece.size()), piece);
  const BufferTable& buffers = context.buffers();
  const int last = buffers[buffers.pieces(BufferKind::kHostWire, layer).back()].piece;
  if (context.op().piece == last) context.tag_slot(slot, layout_hash(work, context));
}

void fetch(const DeviceWork& work, OpContext& context) {
  const BufferKind slot = declared(context, Mode::kWrite, BufferKind::kWeightSlot, BufferKind::kHeadSlot);
  if (context.op().piece != kWholeLayer) return fetch_piece(work, context, slot);
  const std::span<const std::byte> wire = context.read_pieces(BufferKind::kHostWire);
  const std::span<std::byte> to = context.write(slot);
  if (context.op().part < 0) {
    context.copy(to.first(wire.size()), wire);
  } else {
    const uint64_t element = dtype_bytes(wire_dtype(work.shape.format));
    for_each_tensor_of_part(work, context, [&](const TensorPlace& place, uint64_t from) {
      const uint64_t bytes = place.element_count * element;
      context.copy(to.subspan(place.offset * element, bytes), wire.subspan(from * element, bytes));
    });
  }
  context.tag_slot(slot, layout_hash(work, context));
}

void offload(const DeviceWork& work, OpContext& context) {
  const BufferKind staging = declared(context, Mode::kRead, BufferKind::kWireStaging, BufferKind::kHeadWireStaging);
  const BufferKind source =
      context.declares(staging, Mode::kRead)
          ? staging
          : declared(context, Mode::kRead, BufferKind::kGradientSlot, BufferKind::kHeadGradientSlot);
  const std::span<const std::byte> from = context.read(source);
  const std::span<std::byte> to = context.write(BufferKind::kHostGradient);
  const uint64_t element = dtype_bytes(work.shape.gradient);
  if (context.op().part < 0) {
    const uint64_t bytes = slot_layout(work, context).trainable_bytes(element);
    context.copy(to.first(bytes), from.first(bytes));
    return;
  }
  for_each_tensor_of_part(work, context, [&](const TensorPlace& place, uint64_t first) {
    const bool is_norm = place.spec.shape.size() == 1;
    if (!place.spec.trainable || (is_norm && context.op().part > 0)) return;  // part 0 has the norm's gradient
    const uint64_t bytes = place.element_count * element;
    context.copy(to.subspan(first * element, bytes), from.subspan(place.offset * element, bytes));
  });
}

void forward(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kWeightSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kWeightSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto output = context.write(BufferKind::kActivation);
  std::span<std::byte> saved;
  if (context.declares(BufferKind::kSaved, Mode::kWrite)) saved = context.write(BufferKind::kSaved);
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = micro_batch(work, context);
  Decoder* decoder = work.decoder;
  const int64_t block = context.op().layer - 1;
  launch_compute(context, *work.maths,
                 [=] { decoder->forward(block, weights, input, output, saved, workspace, batch); });
}

// The gradient with respect to the op's input; empty where nothing below is trained.
std::span<std::byte> input_gradient(const OpContext& context) {
  if (!context.declares(BufferKind::kActivationGradient, Mode::kWrite)) return {};
  return context.write(BufferKind::kActivationGradient);
}

// The trainable part of the op's gradient slot; empty where the layer is frozen.
std::span<float> weight_gradient(const DeviceWork& work, const OpContext& context) {
  const BufferKind slot = declared(context, Mode::kWrite, BufferKind::kGradientSlot, BufferKind::kHeadGradientSlot);
  if (!context.declares(slot, Mode::kWrite)) return {};
  return as_floats(context.write(slot)).first(slot_layout(work, context).trainable_elements());
}

double* loss_place(const OpContext& context) {
  const size_t m = static_cast<size_t>(context.op().micro_batch);
  const auto losses = context.write(BufferKind::kLoss);
  CHECK_LE((m + 1) * sizeof(double), losses.size());
  return reinterpret_cast<double*>(losses.data()) + m;
}

double loss_scale(const DeviceWork& work) {
  return 1.0 / static_cast<double>(std::max<int64_t>(1, work.inputs->trained_tokens));
}

void loss(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kHeadSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kHeadSlot);
  const auto input = context.read(BufferKind::kActivation);
  const std::span<std::byte> d_input = input_gradient(context);
  const std::span<float> gradient = weight_gradient(work, context);
  const bool accumulate = context.op().micro_batch > 0;
  double* sum = loss_place(context);
  const double scale = loss_scale(work);
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = micro_batch(work, context);
  Decoder* decoder = work.decoder;
  launch_compute(context, *work.maths,
                 [=] { decoder->loss(weights, input, d_input, gradient, accumulate, scale, sum, workspace, batch); });
}

void head_statistics(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kHeadSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kHeadSlot);
  const auto input = context.read(BufferKind::kActivation);
  const std::span<float> statistics = as_floats(context.write(BufferKind::kHeadStatistics));
  double* sum = context.declares(BufferKind::kLoss, Mode::kWrite) ? loss_place(context) : nullptr;
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = micro_batch(work, context);
  const int part = context.op().part;
  Decoder* decoder = work.decoder;
  launch_compute(context, *work.maths,
                 [=] { decoder->head_statistics(part, weights, input, statistics, sum, workspace, batch); });
}

void head_gradient(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kHeadSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kHeadSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto statistics_bytes = context.read(BufferKind::kHeadStatistics);
  const std::span<const float> statistics(reinterpret_cast<const float*>(statistics_bytes.data()),
                                          statistics_bytes.size() / sizeof(float));
  const std::span<float> d_normed = as_floats(context.write(BufferKind::kHeadInputGradient));
  const std::span<std::byte> d_input = input_gradient(context);
  const std::span<float> gradient = weight_gradient(work, context);
  const bool accumulate = context.op().micro_batch > 0;
  const double scale = loss_scale(work);
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = micro_batch(work, context);
  const int part = context.op().part;
  Decoder* decoder = work.decoder;
  launch_compute(context, *work.maths, [=] {
    decoder->head_part_gradient(part, weights, input, statistics, d_normed, d_input, gradient, accumulate, scale,
                                workspace, batch);
  });
}

void backward(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kWeightSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kWeightSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto d_output = context.read(BufferKind::kActivationGradient);
  const std::span<std::byte> d_input = input_gradient(context);
  const std::span<float> gradient = weight_gradient(work, context);
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = micro_batch(work, context);
  const bool accumulate = context.op().micro_batch > 0;
  Decoder* decoder = work.decoder;
  const int64_t block = context.op().layer - 1;
  if (context.declares(BufferKind::kSaved, Mode::kRead)) {
    const auto saved = context.read(BufferKind::kSaved);
    launch_compute(context, *work.maths, [=] {
      decoder->backward(block, weights, input, saved, d_output, d_input, gradient, accumulate, workspace, batch);
    });
    return;
  }
  const auto recomputed = context.write(BufferKind::kRecomputed);
  launch_compute(context, *work.maths, [=] {
    decoder->recompute(block, weights, input, recomputed, workspace, batch);
    decoder->backward(block, weights, input, recomputed, d_output, d_input, gradient, accumulate, workspace, batch);
  });
}

// The one cast of a gradient.
void pack(const DeviceWork& work, OpContext& context) {
  const BufferKind slot = declared(context, Mode::kRead, BufferKind::kGradientSlot, BufferKind::kHeadGradientSlot);
  const BufferKind staging = declared(context, Mode::kWrite, BufferKind::kWireStaging, BufferKind::kHeadWireStaging);
  const auto from = context.read(slot);
  const auto to = context.write(staging);
  const LayerLayout& layout = slot_layout(work, context);
  CHECK_LE(layout.trainable_bytes(sizeof(float)), from.size());
  CHECK_LE(layout.trainable_bytes(sizeof(bf16_bits)), to.size());
  const auto count = static_cast<int64_t>(layout.trainable_elements());
  Maths* maths = work.maths;
  launch_compute(context, *work.maths,
                 [=] { maths->cast(DType::kFloat32, from.data(), DType::kBFloat16, to.data(), count); });
}

void sleep_until_precisely(std::chrono::steady_clock::time_point end) {
  constexpr auto kSpin = std::chrono::microseconds(100);
  std::this_thread::sleep_until(end - kSpin);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Keeps the contract of real compute (slots checked, lane and order) and takes its modelled time.
void paced(const DeviceWork& work, OpContext& context) {
  for (const BufferKind slot : {BufferKind::kWeightSlot, BufferKind::kHeadSlot}) {
    if (context.declares(slot, Mode::kRead)) context.check_slot(slot, layout_hash(work, context));
  }
  const std::chrono::duration<double> duration(work.pace->seconds(context.op(), context.buffers()));
  context.launch([duration] {
    sleep_until_precisely(std::chrono::steady_clock::now() +
                          std::chrono::duration_cast<std::chrono::steady_clock::duration>(duration));
  });
}

}  // namespace

const LayerLayout& slot_layout(const ModelMemory& memory, const std::vector<LayerLayout>& head_parts,
                               const OpContext& context) {
  if (context.op().part >= 0) return head_parts[static_cast<size_t>(context.op().part)];
  return memory.layouts()[static_cast<size_t>(context.weight_layer())];
}

void launch_compute(OpContext& context, Maths& maths, std::function<void()> work) {
  context.launch([&maths, work = std::move(work)] { maths.run(work); });
}

void fetch_embed(OpContext& context) {
  const std::span<const std::byte> staging = context.read(BufferKind::kEmbedStaging);
  const std::span<std::byte> rows = context.write(BufferKind::kActivation);
  context.copy(rows, staging.first(rows.size()));
  context.copy(context.write(BufferKind::kBatchTable), staging.subspan(rows.size()));
}

BatchView on_device(const RunShape& shape, const OpContext& context, const BatchView& batch) {
  return batch_table(shape).on_device(batch, context.read(BufferKind::kBatchTable));
}

void add_device_handlers(OpHandlers& handlers, const DeviceWork& work) {
  handlers.set(OpKind::kFetchEmbed, fetch_embed);
  handlers.set(OpKind::kOffloadEmbed, [](OpContext& context) {
    context.copy(context.write(BufferKind::kEmbedGradientStaging), context.read(BufferKind::kActivationGradient));
  });
  handlers.set(OpKind::kOffloadLoss, [](OpContext& context) {
    context.copy(context.write(BufferKind::kHostLoss), context.read(BufferKind::kLoss));
  });
  handlers.set(OpKind::kFetch, [work](OpContext& context) { fetch(work, context); });
  handlers.set(OpKind::kOffload, [work](OpContext& context) { offload(work, context); });
  if (work.pace != nullptr) {
    for (OpKind kind : {OpKind::kForward, OpKind::kLoss, OpKind::kHeadStatistics, OpKind::kHeadGradient,
                        OpKind::kBackward, OpKind::kPack}) {
      handlers.set(kind, [work](OpContext& context) { paced(work, context); });
    }
    return;
  }
  handlers.set(OpKind::kForward, [work](OpContext& context) { forward(work, context); });
  handlers.set(OpKind::kLoss, [work](OpContext& context) { loss(work, context); });
  handlers.set(OpKind::kHeadStatistics, [work](OpContext& context) { head_statistics(work, context); });
  handlers.set(OpKind::kHeadGradient, [work](OpContext& context) { head_gradient(work, context); });
  handlers.set(OpKind::kBackward, [work](OpContext& context) { backward(work, context); });
  handlers.set(OpKind::kPack, [work](OpContext& context) { pack(work, context); });
}

}  // namespace penstock
