// AdamW's arithmetic and stochastic rounding in vector lanes, shared by the compact formats.
// Included once per instruction set, after vector_lanes.h and lane_memory.h.

// AdamW's formula (host_optimizer.h) with as few operations as it takes, which is why its bits are not those of
// `exact`:
//   m = beta1 m + (1 - beta1) s g;   v = beta2 v + (sqrt(1 - beta2) s g)^2, where s is the gradient's scale;
//   lr' m / (sqrt(v) / b + eps) = lr' b m / (sqrt(v) + eps b): one division instead of two.
struct ScalarLanes {
  F32 m_gradient, v_gradient, beta1, beta2, decay_factor, eps, step_size;
};

PENSTOCK_LANES ScalarLanes broadcast(const CompactScalars& s) {
  return {broadcast(s.m_gradient),   broadcast(s.v_gradient), broadcast(s.beta1),    broadcast(s.beta2),
          broadcast(s.decay_factor), broadcast(s.eps),        broadcast(s.step_size)};
}

// The new moments from the decayed old ones.
PENSTOCK_LANES F32 new_m(F32 decayed_m, F32 gradient, const ScalarLanes& s) {
  return decayed_m + s.m_gradient * gradient;
}
PENSTOCK_LANES F32 new_v(F32 decayed_v, F32 gradient, const ScalarLanes& s) {
  const F32 g = s.v_gradient * gradient;
  return decayed_v + g * g;
}
PENSTOCK_LANES F32 new_master(F32 master, F32 m, F32 v, const ScalarLanes& s) {
  return master * s.decay_factor - s.step_size * m / (square_root(v) + s.eps);
}

// Adds 16 random bits below the bf16's last one, cuts, stores, and takes the largest magnitude of the result.
PENSTOCK_LANES void store_master(bf16_bits* to, PairF32 master, PairU32 random, I16& largest) {
  const U32 rounded =
      join_upper_halves({(U32)master.even + (random.even & 0xffffu), (U32)master.odd + (random.odd & 0xffffu)});
  largest = larger(largest, (I16)(rounded & 0x7fff7fffu));
  store_lanes(to, rounded);
}

PENSTOCK_LANES bool all_finite(I16 largest) {
  const uint32_t halves = largest_halves((U32)largest);
  return (halves & 0xffffu) < 0x7f80u && (halves >> 16) < 0x7f80u;
}

// A NaN whose mantissa is all ones would be rounded up to zero. One computed from bf16 cannot be: its payload is that
// of an operand or the default one, and both end in zeros. An fp32 gradient may hold anything, so its NaNs are
// replaced.
PENSTOCK_LANES PairF32 quiet_gradient(PairF32 gradient, const uint16_t*) { return gradient; }
PENSTOCK_LANES PairF32 quiet_gradient(PairF32 gradient, const float*) {
  const F32 nan = (F32)broadcast(0x7fc00000u);
  return {gradient.even == gradient.even ? gradient.even : nan, gradient.odd == gradient.odd ? gradient.odd : nan};
}
