// Prefill and decode: the block with its keys and values kept in a cache.
#include "model/decoder_parts.h"

namespace penstock {

namespace {

AttentionCache split_cache(const AttentionShape& heads, const KvCacheView& cache, const BatchView& batch) {
  CHECK_EQ(cache.rows, batch.rows);
  CHECK_EQ(static_cast<int64_t>(cache.lengths.size()), cache.rows);
  const uint64_t half_bytes =
      static_cast<uint64_t>(cache.rows * cache.capacity * heads.kv_width()) * dtype_bytes(heads.dtype);
  CHECK_LE(2 * half_bytes, cache.bytes.size());
  for (int64_t token = 0; token < batch.rows * batch.length; ++token) {
    CHECK_EQ(batch.positions[static_cast<size_t>(token)],
             cache.lengths[static_cast<size_t>(token / batch.length)] + token % batch.length);
  }
  return {cache.bytes.data(), cache.bytes.data() + half_bytes, cache.rows, cache.capacity, cache.lengths};
}

}  // namespace

uint64_t Decoder::kv_cache_bytes(const ModelConfig& config, DType compute, int64_t rows, int64_t capacity) {
  const auto width = static_cast<uint64_t>(config.num_key_value_heads * config.head_dim);
  return 2 * static_cast<uint64_t>(rows * capacity) * width * dtype_bytes(compute);
}

void Decoder::prefill(int64_t block, ConstBytes weights, ConstBytes input, std::span<std::byte> output,
                      const KvCacheView& cache, std::span<std::byte> workspace, const BatchView& batch) {
  const int64_t tokens = parts_->token_count(batch);
  const AttentionShape heads = parts_->attention_shape(block);
  const AttentionCache rows = split_cache(heads, cache, batch);
  Carver carver(workspace);
  const BlockScratch scratch = parts_->block_scratch(tokens, carver);
  const SavedBuffers buffers = parts_->saved_buffers({}, tokens, carver);
  const DecoderParts::BlockCall call{block, weights, batch, buffers, scratch};
  parts_->run_attention(call, input.data(), carver, [&] {
    parts_->maths().append_to_cache(heads, batch, buffers.qkv, rows);
    parts_->maths().attention(heads, batch, buffers.qkv, buffers.attended, buffers.logsumexp);
  });
  parts_->run_mlp(call, output.data(), carver);
}

void Decoder::decode(int64_t block, ConstBytes weights, ConstBytes input, std::span<std::byte> output,
                     const KvCacheView& cache, std::span<std::byte> workspace, const BatchView& batch) {
  const int64_t tokens = parts_->token_count(batch);
  CHECK_EQ(batch.length, 1);
  const AttentionShape heads = parts_->attention_shape(block);
  const AttentionCache rows = split_cache(heads, cache, batch);
  Carver carver(workspace);
  const BlockScratch scratch = parts_->block_scratch(tokens, carver);
  const SavedBuffers buffers = parts_->saved_buffers({}, tokens, carver);
  const DecoderParts::BlockCall call{block, weights, batch, buffers, scratch};
  parts_->run_attention(call, input.data(), carver, [&] {
    parts_->maths().append_to_cache(heads, batch, buffers.qkv, rows);
    parts_->maths().cached_attention(heads, buffers.qkv, buffers.attended, rows);
  });
  parts_->run_mlp(call, output.data(), carver);
}

}  // namespace penstock
