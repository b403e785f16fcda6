// A step's numbers as the loops of the compact formats use them (adamw_lanes.h has the formula); derived in double and
// rounded once.
#pragma once

namespace penstock {

struct CompactScalars {
  float m_gradient;  // (1 - beta1) * gradient_scale
  float v_gradient;  // sqrt(1 - beta2) * gradient_scale
  float beta1;
  float beta2;
  float decay_factor;  // 1 - lr * decay; 1 on tensors that do not decay
  float eps;           // eps * b, where b = sqrt(1 - beta2^t); a normal number, so that 0 / eps is 0 under FTZ
  float step_size;     // lr / (1 - beta1^t) * b
};

}  // namespace penstock
