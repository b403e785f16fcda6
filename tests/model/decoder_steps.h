// The same steps of one decoder on any arithmetic and in any memory, for comparing two of them.
#pragma once

#include "decoder_run.h"

#include <map>
#include <string>
#include <vector>

#include "decoder_cases.h"
#include "model/decoder.h"
#include "model/layer_specs.h"
#include "model/maths.h"
#include "step_memory.h"

namespace penstock {

struct StepOptions {
  DType wire = DType::kFloat32, compute = DType::kFloat32;
  TrainablePatterns trainable = {};
  int head_parts = 1;
  int64_t loss_chunk_tokens = 1024;
};

struct StepResults {
  double loss = 0;
  std::map<std::string, at::Tensor> values;  // in double
};

// Forward, loss and backward of one block and the head over two micro-batches; for whole rows also prefill and a token
// of decoding.
class DecoderSteps {
 public:
  DecoderSteps(const DecoderCase& c, const StepOptions& options, Backend backend, Maths& maths, StepMemory& memory,
               uint64_t seed);
  StepResults run();

 private:
  struct HeadPart {
    LayerLayout layout;
    std::span<std::byte> weights, gradient;
  };

  std::span<std::byte> placed(std::span<const std::byte> values);
  const int32_t* on_device(const std::vector<int32_t>& values);
  std::span<std::byte> slab_of(const LayerLayout& layout, uint64_t seed);
  std::span<std::byte> activation(uint64_t stream, double scale);
  void keep(const std::string& name, std::span<const std::byte> from, DType dtype, int64_t count);
  void keep_gradients(const LayerLayout& layout, std::span<const std::byte> gradient, const std::string& suffix);
  void place_heads();
  void run_head(std::span<const std::byte> input, std::span<std::byte> d_input, bool accumulate);
  void generate(std::span<const std::byte> weights, std::span<const std::byte> prompt);

  const DecoderCase& c_;
  StepOptions options_;
  ModelConfig config_;
  DecoderSettings settings_;
  Maths& maths_;
  StepMemory& memory_;
  uint64_t seed_;
  TestBatch batch_;
  BatchView view_;
  Decoder decoder_;
  DecoderBytes bytes_;
  std::span<std::byte> workspace_, statistics_, d_normed_;
  std::vector<HeadPart> heads_;
  StepResults results_;
};

// Every tensor within its tolerance. Where a gradient is zero by nature, as that of a lone token's query, only rounding
// is left, which is compared with the largest of them.
void expect_close(const StepResults& actual, const StepResults& expected, double loss_tolerance, double tolerance);

}  // namespace penstock
