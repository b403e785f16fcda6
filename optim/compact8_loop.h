// The loop of `compact8` (compact8_kernels.h). Included once per instruction set.
#include "optim/adamw_lanes.h"
#include "optim/compact8_codes.h"
#include "optim/philox_lanes.h"

constexpr int kBlockLength = static_cast<int>(kScaleBlockElements);
constexpr int kBlockPairs = kBlockLength / kPairElements;

// One block's new moments between its two passes: they must be known before the scales are, and the scales before one
// of them can be stored. 1 KiB that stays in the first cache. All that can wait is left to the second pass, where
// square root and division run in the shadow of Philox and the codes.
struct NewMoments {
  PairF32 m[kBlockPairs];
  PairF32 v[kBlockPairs];
};

struct BlockLargest {
  F32 m{}, v{};
};

template <typename Gradient>
PENSTOCK_LANES void compute_moments(const Compact8Run<Gradient>& run, const ScalarLanes& scalars, NewMoments& block,
                                    BlockLargest& largest) {
  const F32 m_factor = scalars.beta1 * broadcast(run.scales->m);
  const F32 v_factor = scalars.beta2 * broadcast(run.scales->v);
#pragma GCC unroll 2
  for (int i = 0; i < kBlockPairs; ++i) {
    const int at = i * kPairElements;
    prefetch_ahead(run.master + at);
    prefetch_ahead(run.moments + at);
    prefetch_ahead(run.gradient + at);
    const PairF32 g = quiet_gradient(load_pair(run.gradient + at), run.gradient);
    const U32 words = load_lanes(run.moments + at);
    const PairF32 m = {new_m(decode_m(words << 19, words << 24) * m_factor, g.even, scalars),
                       new_m(decode_m(words << 3, words << 8) * m_factor, g.odd, scalars)};
    const PairF32 v = {new_v(decode_v(words << 11) * v_factor, g.even, scalars),
                       new_v(decode_v(words >> 5) * v_factor, g.odd, scalars)};
    block.m[i] = m;
    block.v[i] = v;
    largest.m = larger_magnitude(larger_magnitude(largest.m, m.even), m.odd);
    largest.v = larger_magnitude(larger_magnitude(largest.v, v.even), v.odd);
  }
}

template <typename Gradient>
PENSTOCK_LANES void store_block(const Compact8Run<Gradient>& run, const ScalarLanes& scalars, const NewMoments& block,
                                Scale m_scale, Scale v_scale, PhiloxLanes& philox, I16& largest_master) {
  const F32 m_inverse = broadcast(m_scale.inverse);
  const F32 v_inverse = broadcast(v_scale.inverse);
  *run.scales = {m_scale.value, v_scale.value};
#pragma GCC unroll 2
  for (int i = 0; i < kBlockPairs; ++i) {
    const int at = i * kPairElements;
    const PairU32 random = philox.next();
    const PairF32 master = load_pair(run.master + at);
    const PairF32 m = block.m[i];
    const PairF32 v = block.v[i];
    store_master(run.master + at,
                 {new_master(master.even, m.even, v.even, scalars), new_master(master.odd, m.odd, v.odd, scalars)},
                 random, largest_master);
    const U32 even = join_codes(encode_m(m.even, random.even, m_inverse), encode_v(v.even, random.even, v_inverse));
    const U32 odd = join_codes(encode_m(m.odd, random.odd, m_inverse), encode_v(v.odd, random.odd, v_inverse));
    store_lanes(run.moments + at, select_bits(broadcast(0xffff0000u), odd << 5, even >> 11));
  }
}

// False if v has overflowed; masters are judged by `largest_master`.
template <typename Gradient>
PENSTOCK_LANES bool update_block(const Compact8Run<Gradient>& run, const ScalarLanes& scalars, PhiloxLanes& philox,
                                 I16& largest_master) {
  NewMoments block;
  BlockLargest largest;
  compute_moments(run, scalars, block, largest);
  // The upper halves of a float's bits hold all that a scale depends on, so that one search finds both.
  const uint32_t bits = largest_halves(join_upper_halves({(U32)largest.m, (U32)largest.v}));
  const uint32_t largest_v = bits & 0xffff0000u;
  store_block(run, scalars, block, scale_for(bits << 16, 8), scale_for(largest_v, 16), philox, largest_master);
  return largest_v < 0x7f800000u;
}

// A tensor's last block goes through memory of full length. What is behind its end is zero, or for v a zero code, which
// is no more than the v of any real element: neither can change the scales.
template <typename Gradient>
PENSTOCK_LANES bool update_short_block(const Compact8Run<Gradient>& run, const ScalarLanes& scalars,
                                       PhiloxLanes& philox, I16& largest_master) {
  bf16_bits master[kBlockLength] = {};
  uint16_t moments[kBlockLength] = {};
  Gradient gradient[kBlockLength] = {};
  const auto count = static_cast<size_t>(run.count);
  __builtin_memcpy(master, run.master, count * sizeof(bf16_bits));
  __builtin_memcpy(moments, run.moments, count * sizeof(uint16_t));
  __builtin_memcpy(gradient, run.gradient, count * sizeof(Gradient));
  const Compact8Run<Gradient> whole{master, moments, run.scales, gradient, kBlockLength, run.first_element};
  const bool finite = update_block(whole, scalars, philox, largest_master);
  __builtin_memcpy(run.master, master, count * sizeof(bf16_bits));
  __builtin_memcpy(run.moments, moments, count * sizeof(uint16_t));
  return finite;
}

template <typename Gradient>
bool update_compact8(const Compact8Run<Gradient>& given, const CompactScalars& adamw, const RoundingSource& source) {
  Compact8Run<Gradient> run = given;
  const ScalarLanes scalars = broadcast(adamw);
  I16 largest_master{};
  bool finite = true;
  while (run.count > 0) {
    int64_t left = elements_of_one_upper_half(run.first_element, run.count);
    PhiloxLanes philox(source, run.first_element);
    while (left > 0) {
      const int64_t length = left < kBlockLength ? left : kBlockLength;
      finite &= length == kBlockLength ? update_block(run, scalars, philox, largest_master)
                                       : update_short_block(run, scalars, philox, largest_master);
      run.master += length;
      run.moments += length;
      run.gradient += length;
      run.scales += 1;
      run.first_element += kScaleBlockElements;
      run.count -= length;
      left -= length;
    }
  }
  return finite && all_finite(largest_master);
}
