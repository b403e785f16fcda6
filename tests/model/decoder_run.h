// A decoder, its weights and its buffers, for tests: every call is held to the planned bytes.
#pragma once

#include "reference_decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "decoder_cases.h"
#include "guarded_bytes.h"
#include "model/decoder.h"
#include "model/host_maths.h"
#include "model/layer_specs.h"
#include "model/temporary_memory.h"

namespace penstock {

// One layer's random weights: as a slab in the wire dtype, and as the oracle's leaves with the same (rounded) values.
struct LayerWeights {
  LayerWeights(const LayerLayout& layer_layout, DType wire, uint64_t seed)
      : layout(layer_layout), slab(layout.slab_bytes(dtype_bytes(wire))) {
    std::memset(slab.span().data(), 0, slab.span().size());
    uint64_t stream = 100;
    for (const TensorPlace& place : layout.tensors()) {
      const bool is_vector = place.spec.shape.size() == 1, is_norm = place.spec.name.ends_with("norm.weight");
      const double scale = is_vector ? 0.2 : 1.0 / std::sqrt(static_cast<double>(place.spec.shape.back()));
      at::Tensor values = random_tensor(seed, ++stream, place.spec.shape, scale);
      if (is_norm) values = values + 1;
      const at::Tensor rounded = values.to(at_type(wire));
      std::memcpy(slab.span().data() + place.offset * dtype_bytes(wire), rounded.const_data_ptr(), rounded.nbytes());
      leaves[short_name(place)] = rounded.to(at::kDouble).requires_grad_();
    }
  }
  // "q_proj" for the weight, "q_proj.bias" for the bias.
  static std::string short_name(const TensorPlace& place) {
    const std::string name = place.spec.name.substr(0, place.spec.name.rfind('.'));
    return name.substr(name.rfind('.') + 1) + (place.spec.name.ends_with(".bias") ? ".bias" : "");
  }
  // Checks a gradient slab tensor by tensor, as far as it is trained.
  void expect_gradients(std::span<const float> gradient, double tolerance, double factor = 1.0) const {
    for (const TensorPlace& place : layout.tensors()) {
      if (!place.spec.trainable) continue;
      const at::Tensor actual =
          at::from_blob(const_cast<float*>(gradient.data()) + place.offset, place.spec.shape, at::kFloat)
              .to(at::kDouble);
      EXPECT_LE(relative_error(actual, leaves.at(short_name(place)).grad() * factor), tolerance) << place.spec.name;
    }
  }

  LayerLayout layout;
  GuardedBytes slab;
  reference::Weights leaves;
};

class PeakObserver final : public TemporaryObserver {
 public:
  bool charge(int64_t bytes) override {
    const int64_t now = now_ += bytes;
    if (now > peak_) peak_ = now;
    return true;
  }
  int64_t peak() const { return peak_; }
  int64_t now() const { return now_; }

 private:
  std::atomic<int64_t> now_ = 0;
  std::atomic<int64_t> peak_ = 0;
};

// A decoder with its buffers; every call is checked against the planned bytes and temporaries.
class DecoderRun {
 public:
  static constexpr int kComputeThreads = 2;

  DecoderRun(const DecoderCase& c, DType wire, DType compute, int64_t loss_chunk_tokens = 1024,
             const TrainablePatterns& trainable = {}, int head_parts = 1)
      : config(config_of(c)),
        settings{Backend::kHost,  wire,      compute,   c.rows, c.length, loss_chunk_tokens,
                 kComputeThreads, trainable, head_parts},
        decoder(config, settings, maths),
        layouts(layer_layouts(config, trainable)),
        bytes(decoder_bytes(config, settings)),
        output(bytes.activation),
        saved(bytes.saved),
        d_input(bytes.activation),
        workspace_(bytes.workspace) {
    install_counting_allocator();
  }

  template <typename Call>
  void observed(const Call& call) {
    PeakObserver observer;
    {
      const TemporaryObservation observation(observer);
      maths.run([&] { call(workspace_.span()); });
    }
    EXPECT_LE(observer.peak(), static_cast<int64_t>(bytes.temporary));
    EXPECT_EQ(observer.now(), 0) << "a call left memory behind";
    std::memset(workspace_.span().data(), 0xff, workspace_.span().size());  // nothing may live on between calls
  }
  void forward(LayerWeights& weights, GuardedBytes& input, const TestBatch& batch, bool keep = true) {
    observed([&](std::span<std::byte> workspace) {
      decoder.forward(0, weights.slab.span(), input.span(), output.span(), keep ? saved.span() : std::span<std::byte>{},
                      workspace, batch.view());
    });
  }
  void backward(LayerWeights& weights, GuardedBytes& input, GuardedBytes& d_output, std::span<float> gradient,
                bool accumulate, const TestBatch& batch, bool wants_input = true) {
    observed([&](std::span<std::byte> workspace) {
      decoder.backward(0, weights.slab.span(), input.span(), saved.span(), d_output.span(),
                       wants_input ? d_input.span() : std::span<std::byte>{}, gradient, accumulate, workspace,
                       batch.view());
    });
  }
  double loss(LayerWeights& weights, GuardedBytes& input, std::span<float> gradient, bool accumulate, double scale,
              const TestBatch& batch, bool wants_input = true) {
    double sum = -1;
    observed([&](std::span<std::byte> workspace) {
      decoder.loss(weights.slab.span(), input.span(), wants_input ? d_input.span() : std::span<std::byte>{}, gradient,
                   accumulate, scale, &sum, workspace, batch.view());
    });
    return sum;
  }
  double evaluate(LayerWeights& weights, GuardedBytes& input, const TestBatch& batch) {
    return loss(weights, input, {}, /*accumulate=*/false, /*scale=*/1.0, batch, /*wants_input=*/false);
  }

  ModelConfig config;
  DecoderSettings settings;
  HostMaths maths{kComputeThreads};
  Decoder decoder;
  std::vector<LayerLayout> layouts;
  DecoderBytes bytes;
  GuardedBytes output, saved, d_input;

 private:
  GuardedBytes workspace_;
};

}  // namespace penstock
