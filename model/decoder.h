// Forward and hand-written backward of one decoder layer over weight views. One config-driven decoder with switches.
// No autograd, no ownership: every operand is a span of device memory that the caller planned; all work is issued by
// the compute lane's thread, inside Maths::run(). Weights arrive in the wire dtype, activations are in the compute
// dtype, gradients are fp32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/dtype.h"
#include "core/layer_layout.h"
#include "model/batch_view.h"
#include "model/layer_specs.h"
#include "model/maths.h"
#include "model/model_config.h"

namespace penstock {

struct DecoderSettings {
  Backend backend = Backend::kHost;
  DType wire = DType::kBFloat16;
  DType compute = DType::kFloat32;
  int64_t rows = 1;                  // B of a micro-batch
  int64_t length = 1;                // T
  int64_t loss_chunk_tokens = 1024;  // logits exist for this many tokens at a time
  int compute_threads = 1;           // LibTorch's, as set_compute_threads set them
  TrainablePatterns trainable = {};  // which tensors get a gradient; the layouts follow from it
  int head_parts = 1;                // above 1: the head comes in parts (layer_specs.h)
  bool deterministic = true;         // on CUDA; attention then takes more memory
};

// Bytes the caller must provide, and what LibTorch takes beside them.
struct DecoderBytes {
  uint64_t activation;  // [B, T, C]
  uint64_t saved;       // a block's intermediates for one micro-batch
  uint64_t workspace;   // scratch of any single call, training and evaluation
  uint64_t temporary;   // upper bound of LibTorch's own allocations during any single call
};

// The KV cache of one block: keys then values, each [rows, capacity, kv_heads, head_dim] in the compute dtype.
struct KvCacheView {
  std::span<std::byte> bytes;
  int64_t rows = 0;
  int64_t capacity = 0;
  std::span<const int32_t> lengths;  // [rows], tokens already in the cache before this call
};

// Sizes follow from the shape alone; no device is needed.
DecoderBytes decoder_bytes(const ModelConfig& config, const DecoderSettings& settings);

struct DecoderParts;  // model/decoder_parts.h

class Decoder {
 public:
  // `maths` computes, on settings.backend, and outlives the decoder.
  Decoder(const ModelConfig& config, const DecoderSettings& settings, Maths& maths);
  ~Decoder();

  static uint64_t kv_cache_bytes(const ModelConfig& config, DType compute, int64_t rows, int64_t capacity);

  // Blocks count from 0. Blocks of one model differ in their window and in whether they rotate.

  // output = block(input). `saved` receives what backward needs; empty: nothing is kept (evaluation).
  void forward(int64_t block, std::span<const std::byte> weights, std::span<const std::byte> input,
               std::span<std::byte> output, std::span<std::byte> saved, std::span<std::byte> workspace,
               const BatchView& batch);

  // Rebuilds `saved` from the block's input: the very code of forward, so that recompute and keep agree bit for bit.
  void recompute(int64_t block, std::span<const std::byte> weights, std::span<const std::byte> input,
                 std::span<std::byte> saved, std::span<std::byte> workspace, const BatchView& batch);

  // d_input = d(loss)/d(input), not computed where it is empty: nothing below is trained. gradient (fp32, the trainable
  // part of the block's slab) = or += this micro-batch's part; empty where the block is frozen.
  void backward(int64_t block, std::span<const std::byte> weights, std::span<const std::byte> input,
                std::span<const std::byte> saved, std::span<const std::byte> d_output, std::span<std::byte> d_input,
                std::span<float> gradient, bool accumulate, std::span<std::byte> workspace, const BatchView& batch);

  // Sum of negative log-likelihoods over the trained targets into *loss_sum (a device double, overwritten).
  // Training (`d_input` or `gradient` not empty): also these two, of loss_sum * loss_scale. `gradient` is empty where
  // the head is frozen, `d_input` where nothing below it is trained.
  // Token-chunked: full logits never exist. The logits of a chunk are turned into their gradient in place.
  void loss(std::span<const std::byte> weights, std::span<const std::byte> input, std::span<std::byte> d_input,
            std::span<float> gradient, bool accumulate, double loss_scale, double* loss_sum,
            std::span<std::byte> workspace, const BatchView& batch);

  // The head in parts, first pass, parts 0, 1, ... in order: `statistics` [3, tokens] holds every token's running
  // maximum of the logits, sum of exponentials under that maximum, and the target's logit. Part 0 overwrites them; the
  // last part also writes *loss_sum. `weights` is the slab of head_part_layout().
  void head_statistics(int part, std::span<const std::byte> weights, std::span<const std::byte> input,
                       std::span<float> statistics, double* loss_sum, std::span<std::byte> workspace,
                       const BatchView& batch);
  // Second pass, parts in falling order, with the complete statistics: the part's gradient (fp32, the trainable part of
  // its slab) and the sum of d(loss)/d(normed) over the parts in `d_normed` (fp32 [tokens, C], the last part overwrites
  // it). Part 0 ends it: d_input and, in its own gradient, the final norm's. In the other parts' gradients the norm is
  // zero. Empty spans as in loss().
  void head_part_gradient(int part, std::span<const std::byte> weights, std::span<const std::byte> input,
                          std::span<const float> statistics, std::span<float> d_normed, std::span<std::byte> d_input,
                          std::span<float> gradient, bool accumulate, double loss_scale, std::span<std::byte> workspace,
                          const BatchView& batch);

  // Whole prompts, right-padded rows: as forward, and keys and values of every token go into the cache at its position.
  // Positions continue each row's cache: batch.positions = lengths[row] + index in the row, here and in decode.
  void prefill(int64_t block, std::span<const std::byte> weights, std::span<const std::byte> input,
               std::span<std::byte> output, const KvCacheView& cache, std::span<std::byte> workspace,
               const BatchView& batch);
  // One token a row (length 1): attends to the row's cache and itself, and is appended to the cache.
  void decode(int64_t block, std::span<const std::byte> weights, std::span<const std::byte> input,
              std::span<std::byte> output, const KvCacheView& cache, std::span<std::byte> workspace,
              const BatchView& batch);
  // fp32 logits [rows, vocab] of one position a row: `last_positions`[rows] index into [0, T). A part of the head
  // writes its own columns.
  void logits(int part, std::span<const std::byte> weights, std::span<const std::byte> input,
              std::span<const int32_t> last_positions, std::span<float> logits, std::span<std::byte> workspace,
              const BatchView& batch);

 private:
  std::unique_ptr<DecoderParts> parts_;
};

}  // namespace penstock
