// Turns settings into the schedules of a run. The one place where policy lives: which op comes when, on which lane, and
// which slot holds which layer (DESIGN.md section 2).
// Slot assignment restarts each step, so two steps are the whole period.
#pragma once

#include <cstdint>
#include <vector>

#include "streaming/plan/schedule.h"

namespace penstock {

enum class ActivationPolicy : uint8_t { kKeep, kRecompute };
enum class UpdateMode : uint8_t { kDeferred, kEager };
enum class Purpose : uint8_t { kTrain, kEval, kGenerate };

struct StepSettings {
  Purpose purpose = Purpose::kTrain;
  int block_count = 1;
  int micro_batches = 1;
  int prefetch_depth = 1;  // >= 1; prefetch_depth + 1 weight slots (never more than blocks)
  int gradient_slots = 2;  // >= 1
  UpdateMode update = UpdateMode::kDeferred;
  bool packs_gradients = true;  // false: the wire gradient is fp32, Offload reads the gradient slot itself
  std::vector<ActivationPolicy> activations = {};  // one per block; training only
  // Layers in need order with a trainable tensor: embedding, blocks, head. Empty: all. Training only.
  std::vector<uint8_t> trained_layers = {};
  bool trains_embedding = true;  // where the head is tied, its layer may train without the embedding
  bool tied_head = false;        // the head owns the embedding: there is no layer 0
  int head_parts = 1;            // above 1: the head is fetched and used in so many parts, twice in training
};

// Sizes of one layer in bytes, padding included.
struct LayerBytes {
  uint64_t wire = 0;           // the bytes that stream
  uint64_t state = 0;          // remainder or nothing, m, v
  uint64_t host_gradient = 0;  // wire dtype of gradients
  uint64_t gradient_slot = 0;  // fp32
  // Where the layer's deferred update and its fetch chase each other: the pieces of `wire`, in order, at least two.
  std::vector<uint64_t> wire_pieces = {};
  // Of the layer that holds the embedding: the most that one step's tokens can name of `wire`, which may be all of it.
  uint64_t hot_rows = 0;
};

struct StepBytes {
  std::vector<LayerBytes> layers;    // embedding, blocks, head
  LayerBytes head_part;              // the largest part of the head: what its slots hold; host_gradient: wire staging
  uint64_t head_statistics = 0;      // one micro-batch; head in parts only
  uint64_t head_input_gradient = 0;  // the same
  uint64_t batch_table = 0;          // positions, targets and segments of one micro-batch
  uint64_t activation = 0;           // one micro-batch of one layer's input
  uint64_t saved = 0;                // intermediates of one block for one micro-batch
  uint64_t workspace = 0;            // compute lane's scratch
  uint64_t kv_cache = 0;             // per block; generation only
  uint64_t logits = 0;               // generation only
  uint64_t tokens = 0;               // generation only: the next token id of every row
};

class StepPlanner {
 public:
  // CHECKs the settings' ranges: callers validated user input.
  StepPlanner(const StepSettings& settings, const StepBytes& bytes);

  const StepSettings& settings() const { return settings_; }
  const BufferTable& buffers() const { return buffers_; }
  // Training: kTrain, kTrainPending (deferred only), kDrain (deferred only), kEval. Evaluation: kEval. Generation:
  // kPrefill, kDecode. CHECKs that the purpose has the variant.
  Schedule plan(StepVariant variant) const;

 private:
  StepSettings settings_;
  BufferTable buffers_;
};

}  // namespace penstock
