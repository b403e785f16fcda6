#include "streaming/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/bf16.h"
#include "core/check.h"
#include "core/error.h"
#include "core/worker_team.h"
#include "fmt/format.h"
#include "model/finite_values.h"
#include "model/hf_folder.h"
#include "model/strict_json.h"
#include "optim/state_planes.h"
#include "streaming/weight_values.h"

namespace penstock {
namespace {

// One read: 4 MiB of bf16, enough for a disk's full rate and a small part of any shard.
constexpr uint64_t kPieceElements = uint64_t{1} << 21;
// What is converted at a time; stays in a core's cache.
constexpr uint64_t kBufferElements = 64 * 1024;

struct Piece {
  int layer;
  const TensorPlace* place;
  StoredTensor stored;
  uint64_t first;
  uint64_t count;

  uint64_t stored_bytes() const { return stored.entry->byte_count / stored.entry->element_count * count; }
};

std::vector<Piece> cut_into_pieces(const ModelMemory& memory, const WeightFolder& weights) {
  std::vector<Piece> pieces;
  for (int layer = 0; layer < memory.layer_count(); ++layer) {
    for (const TensorPlace& place : memory.layouts()[static_cast<size_t>(layer)].tensors()) {
      const StoredTensor stored = weights.find(place.spec.name);
      for (uint64_t first = 0; first < place.element_count; first += kPieceElements) {
        const uint64_t count = std::min(kPieceElements, place.element_count - first);
        pieces.push_back({.layer = layer, .place = &place, .stored = stored, .first = first, .count = count});
      }
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::forward_as_tuple(a.stored.file->path(), a.stored.entry->file_offset, a.first) <
           std::forward_as_tuple(b.stored.file->path(), b.stored.entry->file_offset, b.first);
  });
  return pieces;
}

// A finite value within half a bf16 step of the largest exponent's end has an infinite wire weight.
void require_finite_wire(const StoredTensor& stored, uint64_t first, std::span<const float> values) {
  const auto has_wire = [](float value) { return is_finite(split_master(value).hi); };
  const auto bad = std::find_if_not(values.begin(), values.end(), has_wire);
  if (bad == values.end()) return;
  throw Error(ExitCode::kBadInput,
              fmt::format("{}: tensor {} holds {} at element {}, which is infinite as a bfloat16 weight; repair the "
                          "weights, or set optimizer.state_format: float32",
                          stored.file->path(), printable_name(stored.entry->name), *bad,
                          first + static_cast<uint64_t>(bad - values.begin())));
}

void load_piece(const WeightFolder& weights, const LayerStateView& view, const Piece& piece, std::span<float> buffer) {
  const std::string& name = piece.place->spec.name;
  // A bf16 master is the value itself, split_master of a bf16 value is that value and no remainder.
  const bool is_narrow = wire_dtype(view.format) == DType::kBFloat16;
  if (piece.stored.entry->dtype == (is_narrow ? "BF16" : "F32")) {
    weights.read_stored(name, piece.first, wire_elements(view, *piece.place, piece.first, piece.count));
    if (has_state(view, *piece.place)) clear_moments(view, piece.place->offset + piece.first, piece.count);
    return;
  }
  for (uint64_t done = 0; done < piece.count;) {
    const std::span<float> values = buffer.first(std::min<uint64_t>(buffer.size(), piece.count - done));
    weights.read(name, piece.first + done, values);
    if (is_narrow) require_finite_wire(piece.stored, piece.first + done, values);
    store_values(view, *piece.place, piece.first + done, values);
    done += values.size();
  }
}

// Hands out pieces in order and keeps the first failure, first by order and not by time: when a piece fails, all
// before it have been handed out and are finished.
class PieceQueue {
 public:
  explicit PieceQueue(size_t count) : count_(count), failed_(count) {}

  // False where nothing is left or a piece has failed.
  bool take(size_t& index) {
    if (stopped_.load(std::memory_order_relaxed)) return false;
    index = next_.fetch_add(1, std::memory_order_relaxed);
    return index < count_;
  }
  void fail(size_t index) {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    if (index >= failed_) return;
    failed_ = index;
    error_ = std::current_exception();
  }
  // After all readers have ended.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  size_t count_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;
  size_t failed_;
  std::exception_ptr error_;
};

}  // namespace

void load_weights(ModelMemory& memory, const std::string& folder, const LoadOptions& options) {
  CHECK_GE(options.readers, 1);
  const WeightFolder weights(folder, memory.layouts());
  const std::vector<Piece> pieces = cut_into_pieces(memory, weights);
  uint64_t total_bytes = 0;
  for (const Piece& piece : pieces) total_bytes += piece.stored_bytes();
  std::atomic<uint64_t> done_bytes = 0;
  PieceQueue queue(pieces.size());
  const auto read_pieces = [&](int64_t reader) {
    std::vector<float> buffer(kBufferElements);
    for (size_t index = 0; queue.take(index);) {
      try {
        load_piece(weights, memory.layer(pieces[index].layer), pieces[index], buffer);
      } catch (...) {
        queue.fail(index);
        return;
      }
      const uint64_t done = done_bytes += pieces[index].stored_bytes();
      // On the caller's own thread. The end is reported once, when every reader has come to it.
      if (reader == 0 && options.progress && done < total_bytes) options.progress(done, total_bytes);
    }
  };
  WorkerTeam team(options.readers);
  team.run(options.readers, read_pieces);
  queue.rethrow();
  if (options.progress) options.progress(total_bytes, total_bytes);
}

}  // namespace penstock
