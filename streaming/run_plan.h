// From a run's shape and settings to its buffers: the sizes of every buffer of a step, and the planner over them.
// Allocates nothing; `penstock plan` stops here.
#pragma once

#include "model/decoder.h"
#include "model/model_config.h"
#include "optim/state_format.h"
#include "streaming/batch_table.h"
#include "streaming/plan/memory_plan.h"
#include "streaming/plan/step_planner.h"
#include "streaming/update_pieces.h"

namespace penstock {

// What the sizes of all buffers follow from.
struct RunShape {
  ModelConfig model;
  Backend backend = Backend::kHost;
  StateFormat format = StateFormat::kExact;
  DType compute = DType::kFloat32;
  DType gradient = DType::kBFloat16;  // of the wire and of the host gradient
  int64_t rows = 1;                   // B of a micro-batch
  int64_t length = 1;                 // T
  int64_t kv_capacity = 0;            // tokens a row; generation only
  int compute_threads = 1;            // LibTorch's temporaries grow with it
  TrainablePatterns trainable = {};   // empty: all; layouts follow from it, in evaluation too
  int head_parts = 1;                 // above 1: the head comes in parts; changes rounding
  bool deterministic = true;          // on CUDA
  uint64_t update_piece_bytes = kUpdatePieceBytes;
};

struct RunPlan {
  RunShape shape;
  DecoderBytes decoder;
  StepPlanner planner;
};

// What the shape says about `settings` (blocks, packing, trained layers, tied head, head parts) is derived here. CHECKs
// ranges.
RunPlan plan_run(const RunShape& shape, StepSettings settings);

DecoderSettings decoder_settings(const RunShape& shape);

// Layouts of the head's parts; one that is the head's own where it comes whole.
std::vector<LayerLayout> head_part_layouts(const RunShape& shape);

BatchTable batch_table(const RunShape& shape);

MemoryPlan memory_plan(const RunPlan& plan, uint64_t data_bytes);

// The host gradient of an untied embedding is followed by one byte a row: was the row touched in this step?
uint64_t touched_rows_offset(const RunShape& shape);

}  // namespace penstock
