// The loop of `compact` (compact_kernels.h). Included once per instruction set.
#include "optim/adamw_lanes.h"
#include "optim/philox_lanes.h"

template <typename Gradient>
PENSTOCK_LANES void update_pair(bf16_bits* master, bf16_bits* m, bf16_bits* v, const Gradient* gradient,
                                const ScalarLanes& scalars, PairU32 random, I16& largest) {
  const PairF32 g = quiet_gradient(load_pair(gradient), gradient);
  const PairF32 old = load_pair(master);
  const PairF32 old_m = load_pair(m);
  const PairF32 old_v = load_pair(v);
  const PairF32 ms = {new_m(old_m.even * scalars.beta1, g.even, scalars),
                      new_m(old_m.odd * scalars.beta1, g.odd, scalars)};
  const PairF32 vs = {new_v(old_v.even * scalars.beta2, g.even, scalars),
                      new_v(old_v.odd * scalars.beta2, g.odd, scalars)};
  const PairF32 masters = {new_master(old.even, ms.even, vs.even, scalars),
                           new_master(old.odd, ms.odd, vs.odd, scalars)};
  store_master(master, masters, random, largest);
  store_lanes(m, join_upper_halves({(U32)ms.even + 0x8000u, (U32)ms.odd + 0x8000u}));
  store_lanes(v, join_upper_halves({(U32)vs.even + (random.even >> 16), (U32)vs.odd + (random.odd >> 16)}));
}

// A tail shorter than a register goes through memory of full length; the rest of it is zeros, which stay finite.
template <typename Gradient>
PENSTOCK_LANES void update_tail(const CompactRun<Gradient>& run, int64_t begin, const ScalarLanes& scalars,
                                PairU32 random, I16& largest) {
  bf16_bits master[kPairElements] = {}, m[kPairElements] = {}, v[kPairElements] = {};
  Gradient gradient[kPairElements] = {};
  const auto count = static_cast<size_t>(run.count - begin);
  __builtin_memcpy(master, run.master + begin, count * sizeof(bf16_bits));
  __builtin_memcpy(m, run.m + begin, count * sizeof(bf16_bits));
  __builtin_memcpy(v, run.v + begin, count * sizeof(bf16_bits));
  __builtin_memcpy(gradient, run.gradient + begin, count * sizeof(Gradient));
  update_pair(master, m, v, gradient, scalars, random, largest);
  __builtin_memcpy(run.master + begin, master, count * sizeof(bf16_bits));
  __builtin_memcpy(run.m + begin, m, count * sizeof(bf16_bits));
  __builtin_memcpy(run.v + begin, v, count * sizeof(bf16_bits));
}

template <typename Gradient>
bool update_compact(const CompactRun<Gradient>& given, const CompactScalars& adamw, const RoundingSource& source) {
  const CompactRun<Gradient> run = given;  // a local copy: stores cannot change it
  const ScalarLanes scalars = broadcast(adamw);
  I16 largest{};
  for (int64_t begin = 0; begin < run.count;) {
    const int64_t end =
        begin + elements_of_one_upper_half(run.first_element + static_cast<uint64_t>(begin), run.count - begin);
    PhiloxLanes random(source, run.first_element + static_cast<uint64_t>(begin));
    for (; begin + kPairElements <= end; begin += kPairElements) {
      prefetch_ahead(run.master + begin);
      prefetch_ahead(run.m + begin);
      prefetch_ahead(run.v + begin);
      prefetch_ahead(run.gradient + begin);
      update_pair(run.master + begin, run.m + begin, run.v + begin, run.gradient + begin, scalars, random.next(),
                  largest);
    }
    if (begin == end) continue;
    update_tail(run, begin, scalars, random.next(), largest);
    begin = end;
  }
  return all_finite(largest);
}
