// What the decoder's source files share: shapes, weights and the steps of one block. Private to model/decoder*.cpp.
#pragma once

#include <algorithm>
#include <vector>

#include <c10/util/FunctionRef.h>

#include "model/decoder.h"
#include "model/decoder_memory.h"
#include "model/projection.h"
#include "model/rope_frequencies.h"

namespace penstock {

using ConstBytes = std::span<const std::byte>;

// The tensors of one block. Layouts differ between blocks where some of their tensors are frozen.
struct BlockWeights {
  BlockWeights(const ModelConfig& config, const LayerLayout& layout, int64_t block, const DecoderSettings& settings);

  // What backward has to reach, from the output down. Whatever lies below the lowest trained tensor is not computed.
  bool reaches_qkv(bool wants_input) const;
  bool reaches_residual(bool wants_input) const { return reaches_qkv(wants_input) || attention_out.trains(); }
  bool reaches_gate_up(bool wants_input) const;

  TensorPlace input_norm, post_norm;
  TensorPlace query_norm, key_norm;  // with qk_norm only
  Projection qkv, attention_out, gate_up, down;
  uint64_t trainable_elements;
};

// One part of the head; the head itself where there is one.
struct HeadWeights {
  RowRange rows;
  TensorPlace norm;
  FusedWeight lm_head;
  uint64_t trainable_elements;
};

bool any_trained(std::span<const int32_t> targets);

struct DecoderParts {
  // Without maths only sizes may be asked for.
  DecoderParts(const ModelConfig& model_config, const DecoderSettings& decoder_settings, Maths* device_maths);

  Maths& maths() const {
    CHECK(device_maths != nullptr);
    return *device_maths;
  }

  // Bytes of scratch each kind of call takes at the largest micro-batch.
  uint64_t forward_bytes() const;
  uint64_t backward_bytes() const;
  uint64_t loss_bytes() const;
  uint64_t logits_bytes() const;
  uint64_t temporary_bytes() const;

  // CHECKs the batch against the settings; returns its tokens.
  int64_t token_count(const BatchView& batch) const;
  MatrixView matrix(const void* data, int64_t rows, int64_t cols) const;
  // The norm's weight in fp32, in `scratch`.
  void load_norm(const TensorPlace& place, ConstBytes weights, float* scratch) const;
  BlockScratch block_scratch(int64_t tokens, Carver& carver) const;
  SavedBuffers saved_buffers(std::span<std::byte> saved, int64_t tokens, Carver& workspace) const;

  const BlockWeights& block(int64_t index) const;
  const HeadWeights& head(int part) const;
  AttentionShape attention_shape(int64_t block) const;
  HeadNormShape head_norm_shape(int64_t tokens) const;
  RopeRows rope_rows(int64_t tokens, void* qkv, const RopeAngles& angles, bool backward) const;
  LossScratch loss_scratch(int64_t tokens, Carver& carver) const;
  // scratch.d_normed -> d_input (null: not wanted) and the final norm's gradient, where it is trained.
  void final_norm_backward(const TensorPlace& norm, const LossScratch& scratch, int64_t rows, const void* input,
                           void* d_input, std::span<float> gradient, bool accumulate) const;
  int64_t loss_chunk(int64_t tokens) const { return std::min(settings.loss_chunk_tokens, tokens); }

  // One block's forward: run_attention up to gate_up, into `saved`, then run_mlp to `output`. The one code of forward,
  // recompute, prefill and decode.
  struct BlockCall {
    int64_t block;
    ConstBytes weights;
    const BatchView& batch;
    const SavedBuffers& saved;
    const BlockScratch& scratch;
  };
  // `attend` turns saved.qkv into saved.attended.
  void run_attention(const BlockCall& call, const void* input, Carver& carver, c10::function_ref<void()> attend) const;
  // output = residual + down(swiglu(gate_up))
  void run_mlp(const BlockCall& call, void* output, Carver& carver) const;

  ModelConfig config;
  DecoderSettings settings;
  Maths* device_maths;
  DecoderShape shape;
  int64_t max_tokens;
  RopeFrequencies frequencies;
  std::vector<BlockWeights> blocks;
  std::vector<HeadWeights> heads;
  ProjectionBytes block_bytes = {};  // the largest of any block
  uint64_t head_operand_bytes = 0;   // the largest of any part
  uint64_t head_gradient_bytes = 0;  // the same
};

}  // namespace penstock
