// What a handler sees of the world: its op, the buffers that op declared, and its lane. Nothing else.
#pragma once

#include <array>
#include <functional>
#include <span>

#include "core/device.h"
#include "streaming/layer_store.h"
#include "streaming/plan/schedule.h"

namespace penstock {

class OpContext {
 public:
  OpContext(const Schedule& schedule, OpIndex op, uint64_t step, LayerStore& store, Device& device)
      : schedule_(schedule), op_index_(op), step_(step), store_(store), device_(device) {}

  const Op& op() const { return schedule_.ops()[op_index_]; }
  StepVariant variant() const { return schedule_.variant(); }
  int block_count() const { return schedule_.block_count(); }
  std::string label() const { return op_label(op(), block_count()); }

  // The bytes of a declared access. The first form wants exactly one access of that kind and mode. CHECKs both.
  std::span<const std::byte> read(BufferKind kind) const;
  std::span<const std::byte> read(BufferKind kind, int index, int micro_batch = -1) const;
  std::span<std::byte> write(BufferKind kind) const;
  // Wire weights: all pieces that the op reads, which lie side by side. CHECKs that there are some.
  std::span<const std::byte> read_pieces(BufferKind kind) const;
  bool declares(BufferKind kind, Mode mode) const;
  const BufferTable& buffers() const { return schedule_.buffers(); }

  // The layer whose weights the op moves or uses; ops that name none (loss, logits) use the head's.
  int weight_layer() const { return op().layer >= 0 ? op().layer : block_count() + 1; }
  // Weight slots carry tags: a fetch sets the op's layer, a use checks it.
  void tag_slot(BufferKind kind, uint64_t layout_hash);
  void check_slot(BufferKind kind, uint64_t layout_hash) const;

  // Enqueue on the op's lane; both return before the work is done. Errors of `work` carry the op's name.
  void launch(std::function<void()> work);
  void copy(std::span<std::byte> to, std::span<const std::byte> from);

 private:
  BufferIndex find(BufferKind kind, Mode mode) const;

  const Schedule& schedule_;
  OpIndex op_index_;
  uint64_t step_;
  LayerStore& store_;
  Device& device_;
};

using OpHandler = std::function<void(OpContext&)>;

// One handler per kind. Running a kind without a handler is a bug.
class OpHandlers {
 public:
  void set(OpKind kind, OpHandler handler) { handlers_[static_cast<size_t>(kind)] = std::move(handler); }
  void run(OpContext& context) const;

 private:
  std::array<OpHandler, kOpKindCount> handlers_;
};

}  // namespace penstock
