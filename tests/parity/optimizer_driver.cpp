// Runs AdamW steps on raw weights and gradients, so that optimizer_test.py can compare them with PyTorch.
//
//   optimizer_driver INPUT OUTPUT
//
// INPUT: Header, then per tensor `decays` and `element_count` (int64), then all weights, then per step all gradients
// (fp32, tensor after tensor). OUTPUT: all weights (fp32), then per step the gradient norm before clipping (double).
#include <cmath>
#include <cstdio>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/bf16.h"
#include "core/error.h"
#include "optim/host_optimizer.h"

namespace penstock {
namespace {

struct Header {
  int64_t format;  // as in StateFormat
  int64_t step_count;
  int64_t tensor_count;
  double learning_rate;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  double max_grad_norm;
};

template <typename T>
void read_values(std::ifstream& file, T* values, size_t count) {
  file.read(reinterpret_cast<char*>(values), static_cast<std::streamsize>(count * sizeof(T)));
  if (!file) throw Error(ExitCode::kBadInput, "the input ends too early");
}

LayerLayout read_layout(std::ifstream& file, int64_t tensor_count) {
  std::vector<TensorSpec> tensors;
  for (int64_t i = 0; i < tensor_count; ++i) {
    int64_t entry[2];
    read_values(file, entry, 2);
    tensors.push_back({"tensor" + std::to_string(i), {entry[1]}, entry[0] != 0});
  }
  return LayerLayout(std::move(tensors));
}

void read_gradients(std::ifstream& file, const LayerLayout& layout, DType dtype, std::span<std::byte> gradient) {
  for (const TensorPlace& tensor : layout.tensors()) {
    std::vector<float> values(tensor.element_count);
    read_values(file, values.data(), values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::kFloat32) {
        reinterpret_cast<float*>(gradient.data())[tensor.offset + i] = values[i];
      } else {
        reinterpret_cast<bf16_bits*>(gradient.data())[tensor.offset + i] = bf16_from_float(values[i]);
      }
    }
  }
}

void run(const char* input, const char* output) {
  std::ifstream file(input, std::ios::binary);
  Header header;
  read_values(file, &header, 1);
  const LayerLayout layout = read_layout(file, header.tensor_count);
  const auto format = static_cast<StateFormat>(header.format);
  const uint64_t gradient_bytes = layout.slab_bytes(dtype_bytes(gradient_dtype(format)));
  const uint64_t wire_bytes = layout.slab_bytes(dtype_bytes(wire_dtype(format)));
  const uint64_t planes_bytes = state_bytes(format, layout.trainable_elements());
  Arena arena("optimizer driver", gradient_bytes + wire_bytes + planes_bytes + 3 * 4096);
  const std::span<std::byte> gradient = arena.allocate(gradient_bytes);
  const LayerStateView layer{&layout, format, arena.allocate(wire_bytes), arena.allocate(planes_bytes)};
  const LayerGradientView gradient_view{&layout, gradient_dtype(format), gradient, {}};

  std::vector<float> values;
  for (const TensorPlace& tensor : layout.tensors()) {
    values.resize(tensor.element_count);
    read_values(file, values.data(), values.size());
    write_master(layer, tensor, values);
  }
  WorkerTeam team(2);
  std::vector<double> norms;
  for (int64_t update = 1; update <= header.step_count; ++update) {
    read_gradients(file, layout, gradient_dtype(format), gradient);
    const GradientNorm norm = gradient_norm(gradient_view, team);
    norms.push_back(std::sqrt(norm.sum_of_squares));
    const AdamWStep step{.learning_rate = header.learning_rate,
                         .beta1 = header.beta1,
                         .beta2 = header.beta2,
                         .eps = header.eps,
                         .weight_decay = header.weight_decay,
                         .update_count = update,
                         .gradient_scale = clip_factor(norms.back(), header.max_grad_norm),
                         .seed = 20240611};
    if (!norm.finite || !adamw_update(layer, gradient_view, step, team)) {
      throw Error(ExitCode::kNumericStop, "update " + std::to_string(update) + " is not finite");
    }
  }

  std::ofstream result(output, std::ios::binary);
  for (const TensorPlace& tensor : layout.tensors()) {
    values.resize(tensor.element_count);
    read_master(layer, tensor, values);
    result.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * 4));
  }
  result.write(reinterpret_cast<const char*>(norms.data()), static_cast<std::streamsize>(norms.size() * 8));
  if (!result.flush()) throw Error(ExitCode::kIo, std::string("cannot write ") + output);
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: optimizer_driver INPUT OUTPUT\n");
    return static_cast<int>(penstock::ExitCode::kUsage);
  }
  try {
    penstock::run(argv[1], argv[2]);
  } catch (const penstock::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
