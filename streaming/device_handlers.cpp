#include "streaming/device_handlers.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "core/check.h"
#include "model/element_casts.h"

namespace penstock {
namespace {

std::span<float> as_floats(std::span<std::byte> bytes) {
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

uint64_t layout_hash(const DeviceWork& work, const OpContext& context) {
  return work.memory->layouts()[static_cast<size_t>(context.weight_layer())].hash();
}

const MicroBatch& micro_batch(const DeviceWork& work, const OpContext& context) {
  const size_t m = static_cast<size_t>(context.op().micro_batch);
  CHECK_LT(m, work.inputs->micro_batches.size());
  return work.inputs->micro_batches[m];
}

// The head's copies are its own buffers; blocks share slots. An op declares exactly one of the two.
BufferKind declared(const OpContext& context, Mode mode, BufferKind block, BufferKind head) {
  return context.declares(head, mode) ? head : block;
}

void fetch(const DeviceWork& work, OpContext& context) {
  const BufferKind slot = declared(context, Mode::kWrite, BufferKind::kWeightSlot, BufferKind::kHeadSlot);
  const std::span<const std::byte> wire = context.read(BufferKind::kHostWire);
  context.copy(context.write(slot).first(wire.size()), wire);
  context.tag_slot(slot, layout_hash(work, context));
}

void offload(OpContext& context) {
  const BufferKind staging = declared(context, Mode::kRead, BufferKind::kWireStaging, BufferKind::kHeadWireStaging);
  const BufferKind source =
      context.declares(staging, Mode::kRead)
          ? staging
          : declared(context, Mode::kRead, BufferKind::kGradientSlot, BufferKind::kHeadGradientSlot);
  const std::span<const std::byte> from = context.read(source);
  context.copy(context.write(BufferKind::kHostGradient).first(from.size()), from);
}

void forward(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kWeightSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kWeightSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto output = context.write(BufferKind::kActivation);
  std::span<std::byte> saved;
  if (context.declares(BufferKind::kSaved, Mode::kWrite)) saved = context.write(BufferKind::kSaved);
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = batch_view(micro_batch(work, context));
  Decoder* decoder = work.decoder;
  launch_compute(context, work.temporaries, [=] { decoder->forward(weights, input, output, saved, workspace, batch); });
}

void loss(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kHeadSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kHeadSlot);
  const auto input = context.read(BufferKind::kActivation);
  std::span<std::byte> d_input;
  std::span<float> gradient;
  if (context.declares(BufferKind::kHeadGradientSlot, Mode::kWrite)) {
    d_input = context.write(BufferKind::kActivationGradient);
    gradient = as_floats(context.write(BufferKind::kHeadGradientSlot));
  }
  const size_t m = static_cast<size_t>(context.op().micro_batch);
  const auto losses = context.write(BufferKind::kLoss);
  CHECK_LE((m + 1) * sizeof(double), losses.size());
  double* sum = reinterpret_cast<double*>(losses.data()) + m;
  const double scale = 1.0 / static_cast<double>(std::max<int64_t>(1, work.inputs->trained_tokens));
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = batch_view(micro_batch(work, context));
  Decoder* decoder = work.decoder;
  launch_compute(context, work.temporaries,
                 [=] { decoder->loss(weights, input, d_input, gradient, m > 0, scale, sum, workspace, batch); });
}

void backward(const DeviceWork& work, OpContext& context) {
  context.check_slot(BufferKind::kWeightSlot, layout_hash(work, context));
  const auto weights = context.read(BufferKind::kWeightSlot);
  const auto input = context.read(BufferKind::kActivation);
  const auto d_output = context.read(BufferKind::kActivationGradient);
  const auto d_input = context.write(BufferKind::kActivationGradient);
  const auto gradient = as_floats(context.write(BufferKind::kGradientSlot));
  const auto workspace = context.write(BufferKind::kWorkspace);
  const BatchView batch = batch_view(micro_batch(work, context));
  const bool accumulate = context.op().micro_batch > 0;
  Decoder* decoder = work.decoder;
  if (context.declares(BufferKind::kSaved, Mode::kRead)) {
    const auto saved = context.read(BufferKind::kSaved);
    launch_compute(context, work.temporaries, [=] {
      decoder->backward(weights, input, saved, d_output, d_input, gradient, accumulate, workspace, batch);
    });
    return;
  }
  const auto recomputed = context.write(BufferKind::kRecomputed);
  launch_compute(context, work.temporaries, [=] {
    decoder->recompute(weights, input, recomputed, workspace, batch);
    decoder->backward(weights, input, recomputed, d_output, d_input, gradient, accumulate, workspace, batch);
  });
}

// The one cast of a gradient.
void pack(const DeviceWork& work, OpContext& context) {
  const BufferKind slot = declared(context, Mode::kRead, BufferKind::kGradientSlot, BufferKind::kHeadGradientSlot);
  const BufferKind staging = declared(context, Mode::kWrite, BufferKind::kWireStaging, BufferKind::kHeadWireStaging);
  const auto from = context.read(slot);
  const auto to = context.write(staging);
  CHECK_EQ(from.size(), to.size() * 2);
  const auto count = static_cast<int64_t>(from.size() / sizeof(float));
  launch_compute(context, work.temporaries,
                 [=] { cast_elements(DType::kFloat32, from.data(), DType::kBFloat16, to.data(), count); });
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

void launch_compute(OpContext& context, TemporaryObserver* temporaries, std::function<void()> work) {
  context.launch([temporaries, work = std::move(work)] {
    std::optional<TemporaryObservation> observation;
    if (temporaries != nullptr) observation.emplace(*temporaries);
    work();
  });
}

void add_device_handlers(OpHandlers& handlers, const DeviceWork& work) {
  handlers.set(OpKind::kFetchEmbed, [](OpContext& context) {
    context.copy(context.write(BufferKind::kActivation), context.read(BufferKind::kEmbedStaging));
  });
  handlers.set(OpKind::kOffloadEmbed, [](OpContext& context) {
    context.copy(context.write(BufferKind::kEmbedGradientStaging), context.read(BufferKind::kActivationGradient));
  });
  handlers.set(OpKind::kOffloadLoss, [](OpContext& context) {
    context.copy(context.write(BufferKind::kHostLoss), context.read(BufferKind::kLoss));
  });
  handlers.set(OpKind::kFetch, [work](OpContext& context) { fetch(work, context); });
  handlers.set(OpKind::kOffload, [](OpContext& context) { offload(context); });
  if (work.pace != nullptr) {
    for (OpKind kind : {OpKind::kForward, OpKind::kLoss, OpKind::kBackward, OpKind::kPack}) {
      handlers.set(kind, [work](OpContext& context) { paced(work, context); });
    }
    return;
  }
  handlers.set(OpKind::kForward, [work](OpContext& context) { forward(work, context); });
  handlers.set(OpKind::kLoss, [work](OpContext& context) { loss(work, context); });
  handlers.set(OpKind::kBackward, [work](OpContext& context) { backward(work, context); });
  handlers.set(OpKind::kPack, [work](OpContext& context) { pack(work, context); });
}

}  // namespace penstock
