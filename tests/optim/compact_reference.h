// `compact` and `compact8` written plainly, one element at a time, from their description in the headers: own Philox,
// own rounding, own codes. The oracle of the vector loops.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "optim/host_optimizer.h"
#include "optim/state_planes.h"
#include "reference_rounding.h"

namespace penstock {

// One step's arithmetic in fp32: the formula of host_optimizer.h, its constants folded.
struct ReferenceStep {
  float rate, eps, decay, beta1, beta2, m_gradient, v_gradient;

  ReferenceStep(const AdamWStep& step, bool decays) {
    const auto count = static_cast<double>(step.update_count);
    const double correction = std::sqrt(1.0 - std::pow(step.beta2, count));
    rate = static_cast<float>(step.learning_rate / (1.0 - std::pow(step.beta1, count)) * correction);
    eps = static_cast<float>(step.eps * correction);
    decay = decays ? static_cast<float>(1.0 - step.learning_rate * step.weight_decay) : 1.0f;
    beta1 = static_cast<float>(step.beta1);
    beta2 = static_cast<float>(step.beta2);
    m_gradient = static_cast<float>((1.0 - step.beta1) * step.gradient_scale);
    v_gradient = static_cast<float>(std::sqrt(1.0 - step.beta2) * step.gradient_scale);
  }
  float update(float master, float& m, float& v, float gradient) const {
    m *= beta1;
    m += m_gradient * gradient;
    const float root = v_gradient * gradient;
    v *= beta2;
    v += root * root;
    master *= decay;
    return master - rate * m / (std::sqrt(v) + eps);
  }
};

// The codes of `compact8`: where a code's line starts, and how many exponents it has.
struct ReferenceCode {
  double offset;
  int exponents;

  static ReferenceCode of_m() { return {2.0, 8}; }
  static ReferenceCode of_v() { return {1.875, 16}; }

  double decode(int code) const { return std::ldexp(1.0 + code % 16 / 16.0, code / 16 + 1) - offset; }

  // `value` in units of the scale, not negative. `random` of 2^19 is what is added below the code.
  int encode(float value, uint32_t random) const {
    const double line = std::max(2.0, static_cast<double>(value + static_cast<float>(offset)));
    int code = 0;
    while (code + 1 < 16 * exponents && decode(code + 1) + offset <= line) ++code;
    const double step = decode(code / 16 * 16 + 1) - decode(code / 16 * 16);
    const double fraction = (line + -offset - decode(code)) / step;
    return code + (fraction + std::ldexp(random, -19) >= 1.0 ? 1 : 0);
  }
};

// The power of two under which `largest` is below 1.875 * 2^exponents.
inline float reference_scale(float largest, int exponents) {
  if (largest < 0x1p-126f) return 0.0f;
  int exponent = -95;
  while (largest >= 1.875 * std::ldexp(1.0, exponent)) ++exponent;
  return static_cast<float>(std::ldexp(1.0, exponent - exponents));
}

// `plane_element` is the slab element that the planes start with.
inline void reference_compact8_block(const StatePlanes& planes, uint64_t first, uint64_t count, const float* gradient,
                                     const ReferenceStep& arithmetic, const AdamWStep& step,
                                     uint64_t plane_element = 0) {
  MomentScales& scales = planes.scales[first / kScaleBlockElements];
  std::vector<float> masters(count), m(count), v(count);
  float largest_m = 0;
  float largest_v = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const int m_code = planes.moments[first + i] % 256;
    const int v_code = planes.moments[first + i] / 256;
    const auto magnitude = static_cast<float>(ReferenceCode::of_m().decode(m_code % 128));
    m[i] = magnitude * scales.m * (m_code >= 128 ? -1.0f : 1.0f);
    v[i] = static_cast<float>(ReferenceCode::of_v().decode(v_code)) * scales.v;
    masters[i] = arithmetic.update(float_from_bf16(planes.hi[first + i]), m[i], v[i], gradient[i]);
    largest_m = std::max(largest_m, std::abs(m[i]));
    largest_v = std::max(largest_v, v[i]);
  }
  scales = {reference_scale(largest_m, 8), reference_scale(largest_v, 16)};
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t random = reference_random(step, plane_element + first + i);
    planes.hi[first + i] = reference_round(masters[i], random % 65536);
    const float m_units = scales.m > 0 ? std::abs(m[i]) / scales.m : 0.0f;
    const float v_units = scales.v > 0 ? v[i] / scales.v : 0.0f;
    const int m_code =
        (std::signbit(m[i]) ? 128 : 0) + ReferenceCode::of_m().encode(m_units, random / 65536 % 256 * 2048 + 1024);
    const int v_code = ReferenceCode::of_v().encode(v_units, random / 8192);
    planes.moments[first + i] = static_cast<uint16_t>(v_code * 256 + m_code);
  }
}

inline void reference_compact(const StatePlanes& planes, uint64_t first, uint64_t count, const float* gradient,
                              const ReferenceStep& arithmetic, const AdamWStep& step, uint64_t plane_element = 0) {
  for (uint64_t i = 0; i < count; ++i) {
    float m = float_from_bf16(planes.m16[first + i]);
    float v = float_from_bf16(planes.v16[first + i]);
    const float master = arithmetic.update(float_from_bf16(planes.hi[first + i]), m, v, gradient[i]);
    const uint32_t random = reference_random(step, plane_element + first + i);
    planes.hi[first + i] = reference_round(master, random % 65536);
    planes.m16[first + i] = reference_round(m, 0x8000);
    planes.v16[first + i] = reference_round(v, random / 65536);
  }
}

// A whole layer; gradients per parameter, tensors one after another without padding.
inline void reference_update(const LayerStateView& layer, const std::vector<float>& gradients, const AdamWStep& step) {
  const StatePlanes planes = state_planes(layer);
  const float* next = gradients.data();
  for (const TensorPlace& tensor : layer.layout->tensors()) {
    const ReferenceStep arithmetic(step, tensor.spec.decays);
    for (uint64_t done = 0; done < tensor.element_count; done += kScaleBlockElements) {
      const uint64_t count = std::min(kScaleBlockElements, tensor.element_count - done);
      const auto update = layer.format == StateFormat::kCompact8 ? reference_compact8_block : reference_compact;
      update(planes, tensor.offset + done, count, next, arithmetic, step, 0);
      next += count;
    }
  }
}

}  // namespace penstock
