// What the decoder's source files share: shapes, weights and the steps of one block. Private to model/decoder*.cpp.
#pragma once

#include <vector>

#include <c10/util/FunctionRef.h>

#include "model/decoder.h"
#include "model/decoder_memory.h"
#include "model/fused_weight.h"

namespace penstock {

using ConstBytes = std::span<const std::byte>;

struct DecoderParts {
  DecoderParts(const ModelConfig& model_config, const DecoderSettings& decoder_settings);

  // Bytes of scratch each kind of call takes at the largest micro-batch.
  uint64_t forward_bytes() const;
  uint64_t backward_bytes() const;
  uint64_t loss_bytes() const;
  uint64_t logits_bytes() const;

  // CHECKs the batch against the settings; returns its tokens.
  int64_t token_count(const BatchView& batch) const;
  MatrixView matrix(const void* data, int64_t rows, int64_t cols) const;
  // The norm's weight in fp32, in `scratch`.
  void load_norm(const TensorPlace& place, ConstBytes weights, float* scratch) const;
  BlockScratch block_scratch(int64_t tokens, Carver& carver) const;
  SavedBuffers saved_buffers(std::span<std::byte> saved, int64_t tokens, Carver& workspace) const;

  // The block up to gate_up, into `saved`: the one code of forward, recompute, prefill and decode. `attend` turns
  // saved.qkv into saved.attended.
  void run_attention(ConstBytes weights, const void* input, const SavedBuffers& saved, const BlockScratch& scratch,
                     const BatchView& batch, Carver& carver, c10::function_ref<void()> attend) const;
  // output = residual + down(swiglu(gate_up))
  void run_mlp(ConstBytes weights, const SavedBuffers& saved, const BlockScratch& scratch, int64_t tokens, void* output,
               Carver& carver) const;

  ModelConfig config;
  DecoderSettings settings;
  DecoderShape shape;
  int64_t max_tokens;
  std::vector<float> inverse_frequencies;
  TensorPlace input_norm, post_norm, final_norm;
  FusedWeight qkv, attention_out, gate_up, down, lm_head;
  int64_t operand_scratch = 0;   // the block's largest
  int64_t gradient_scratch = 0;  // the same
};

}  // namespace penstock
