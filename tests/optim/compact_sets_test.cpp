// The loops of `compact` and `compact8` under every instruction set: the plain loop's bits at every length, random bits
// that no two elements share, flags at every position.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <thread>

#include "compact_reference.h"
#include "core/float_mode.h"
#include "layer_state.h"
#include "optim/compact8_kernels.h"
#include "optim/compact_kernels.h"

namespace penstock {
namespace {

constexpr uint64_t kSeed = 1618;

AdamWStep step_of(int64_t update_count) {
  return {.learning_rate = 1e-2, .update_count = update_count, .seed = 0xfedcba9876543210u, .layer = 0xffffffffu};
}

CompactScalars scalars_of(const AdamWStep& step) {
  const ReferenceStep reference(step, true);
  return {.m_gradient = reference.m_gradient,
          .v_gradient = reference.v_gradient,
          .beta1 = reference.beta1,
          .beta2 = reference.beta2,
          .decay_factor = reference.decay,
          .eps = reference.eps,
          .step_size = reference.rate};
}

struct Arrays {
  std::vector<bf16_bits> master, m, v, gradient;
  std::vector<uint16_t> moments;
  std::vector<MomentScales> scales;

  explicit Arrays(size_t count) : m(count), v(count), moments(count), scales(count / 128 + 1) {
    for (const float value : random_values(kSeed, 0, count, 1.0)) master.push_back(bf16_from_float(value));
    for (const float value : random_values(kSeed, 1, count, 3.0)) gradient.push_back(bf16_from_float(value));
  }
  std::vector<float> gradients() const {
    std::vector<float> values;
    for (const bf16_bits bits : gradient) values.push_back(float_from_bf16(bits));
    return values;
  }
  StatePlanes planes() {
    return {.hi = master.data(), .m16 = m.data(), .v16 = v.data(), .moments = moments.data(), .scales = scales.data()};
  }
  bool operator==(const Arrays& other) const {
    return master == other.master && m == other.m && v == other.v && moments == other.moments &&
           std::memcmp(scales.data(), other.scales.data(), scales.size() * sizeof(MomentScales)) == 0;
  }
};

class CompactSets : public testing::TestWithParam<std::tuple<InstructionSet, StateFormat>> {
 protected:
  void SetUp() override {
    if (!cpu_supports(set())) GTEST_SKIP() << "this CPU has no " << instruction_set_name(set());
  }
  InstructionSet set() const { return std::get<0>(GetParam()); }
  bool is_compact8() const { return std::get<1>(GetParam()) == StateFormat::kCompact8; }

  bool update(Arrays& a, int64_t count, const AdamWStep& step, uint64_t first_element = 0) const {
    return update_on(set(), a, count, step, first_element);
  }
  bool update_on(InstructionSet set, Arrays& a, int64_t count, const AdamWStep& step,
                 uint64_t first_element = 0) const {
    const RoundingSource source{step.seed, step.layer, static_cast<uint32_t>(step.update_count)};
    if (is_compact8()) {
      return compact8_kernel<bf16_bits>(set)(
          {a.master.data(), a.moments.data(), a.scales.data(), a.gradient.data(), count, first_element},
          scalars_of(step), source);
    }
    return compact_kernel<bf16_bits>(set)(
        {a.master.data(), a.m.data(), a.v.data(), a.gradient.data(), count, first_element}, scalars_of(step), source);
  }
  void update_reference(Arrays& a, uint64_t count, const AdamWStep& step, uint64_t first_element = 0) const {
    const std::vector<float> gradients = a.gradients();
    for (uint64_t done = 0; done < count; done += 128) {
      const auto loop = is_compact8() ? reference_compact8_block : reference_compact;
      const uint64_t length = std::min<uint64_t>(128, count - done);
      loop(a.planes(), done, length, gradients.data() + done, ReferenceStep(step, true), step, first_element);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Sets, CompactSets,
                         testing::Combine(testing::Values(InstructionSet::kBaseline, InstructionSet::kAvx2,
                                                          InstructionSet::kAvx512),
                                          testing::Values(StateFormat::kCompact, StateFormat::kCompact8)),
                         [](const auto& suite) {
                           return std::string(instruction_set_name(std::get<0>(suite.param))) + "_" +
                                  std::string(state_format_name(std::get<1>(suite.param)));
                         });

TEST_P(CompactSets, EqualThePlainLoopAtEveryLength) {
  for (int64_t count = 0; count <= 300; count += count < 130 ? 1 : 17) {
    Arrays actual(400), expected(400);
    for (int64_t number = 1; number <= 3; ++number) {
      ASSERT_TRUE(update(actual, count, step_of(number)));
      update_reference(expected, static_cast<uint64_t>(count), step_of(number));
    }
    ASSERT_TRUE(actual == expected) << count << " elements, seed " << kSeed;
  }
}

// Where element / 4 outgrows 32 bits, in the middle of a run.
TEST_P(CompactSets, CountersOfMoreThan32Bits) {
  Arrays actual(1024), expected(1024);
  const uint64_t first = (uint64_t{1} << 34) - 512;
  ASSERT_TRUE(update(actual, 1024, step_of(UINT32_MAX), first));
  update_reference(expected, 1024, step_of(UINT32_MAX), first);
  EXPECT_TRUE(actual == expected);
}

// FTZ/DAZ is set in a run. Every set agrees with the plain loop in either mode, denormals in all planes included.
TEST_P(CompactSets, DenormalsInEitherMode) {
  const auto check = [this] {
    Arrays actual(300), expected(300);
    for (Arrays* a : {&actual, &expected}) {
      for (size_t i = 0; i < 300; ++i) {
        if (i % 3 == 0) a->master[i] = static_cast<bf16_bits>(i % 0x80);
        if (i % 5 == 0) a->gradient[i] = static_cast<bf16_bits>(0x8000 + i % 0x80);
        if (i >= 128) a->gradient[i] = static_cast<bf16_bits>(0x1000 + i);  // g * g is a denormal
        a->v[i] = static_cast<bf16_bits>(i % 0x100);
        a->m[i] = static_cast<bf16_bits>(i % 0x100);
      }
    }
    for (int64_t number = 1; number <= 3; ++number) {
      ASSERT_TRUE(update(actual, 300, step_of(number)));
      update_reference(expected, 300, step_of(number));
      ASSERT_TRUE(actual == expected) << "update " << number;
    }
  };
  check();
  std::thread flushing([&check] {
    set_flush_denormals();
    check();
  });
  flushing.join();
}

TEST_P(CompactSets, FlagEveryPosition) {
  for (size_t position = 0; position < 200; ++position) {
    for (const bf16_bits bad : {0x7f80, 0xff80, 0x7fc0, 0x7fff, 0xffff}) {
      Arrays a(200);
      a.master[position] = bad;
      EXPECT_FALSE(update(a, 200, step_of(1))) << position;
      a = Arrays(200);
      a.gradient[position] = bad;
      EXPECT_FALSE(update(a, 200, step_of(1))) << position;
    }
  }
  Arrays a(200);
  EXPECT_TRUE(update(a, 200, step_of(1)));
}

// A NaN of any payload in an fp32 gradient: rounding may not carry it to zero.
TEST_P(CompactSets, FlagNansOfFp32Gradients) {
  for (const uint32_t bits : {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7fffffffu, 0xffffffffu, 0x7f800001u}) {
    for (const size_t position : {0u, 1u, 77u, 149u}) {
      Arrays a(150);
      std::vector<float> gradient(150, 1.0f);
      gradient[position] = std::bit_cast<float>(bits);
      const AdamWStep step = step_of(1);
      const RoundingSource source{step.seed, step.layer, 1};
      const bool finite =
          is_compact8()
              ? compact8_kernel<float>(set())(
                    {a.master.data(), a.moments.data(), a.scales.data(), gradient.data(), 150, 0}, scalars_of(step),
                    source)
              : compact_kernel<float>(set())({a.master.data(), a.m.data(), a.v.data(), gradient.data(), 150, 0},
                                             scalars_of(step), source);
      EXPECT_FALSE(finite) << std::hex << bits << " at " << std::dec << position;
    }
  }
}

// A finite master at the top of the range: infinite if the random bits say so, flagged exactly then.
TEST_P(CompactSets, FlagMastersThatRoundToInfinity) {
  int infinite = 0;
  for (int64_t number = 1; number <= 64; ++number) {
    Arrays a(1);
    a.master[0] = 0x7f7f;
    a.gradient[0] = 0;
    AdamWStep step = step_of(number);
    CompactScalars scalars = scalars_of(step);
    scalars.decay_factor = 1.001f;  // between 0x7f7f0000 and infinity
    const RoundingSource source{step.seed, step.layer, static_cast<uint32_t>(number)};
    const bool finite =
        is_compact8()
            ? compact8_kernel<bf16_bits>(set())(
                  {a.master.data(), a.moments.data(), a.scales.data(), a.gradient.data(), 1, 0}, scalars, source)
            : compact_kernel<bf16_bits>(set())({a.master.data(), a.m.data(), a.v.data(), a.gradient.data(), 1, 0},
                                               scalars, source);
    EXPECT_EQ(finite, a.master[0] == 0x7f7f);
    infinite += !finite;
  }
  EXPECT_GT(infinite, 0);
  EXPECT_LT(infinite, 64);
}

// A gradient that is not finite leaves the baseline's bytes, so that a refused step looks the same on every machine.
TEST_P(CompactSets, NansLeaveTheSameBytes) {
  for (const bf16_bits bad : {0x7f80, 0xff80, 0x7fc0, 0xffc0, 0x7fff}) {
    for (const size_t position : {0u, 31u, 127u, 140u}) {
      Arrays actual(200), expected(200);
      actual.gradient[position] = expected.gradient[position] = bad;
      EXPECT_FALSE(update_on(set(), actual, 200, step_of(1)));
      EXPECT_FALSE(update_on(InstructionSet::kBaseline, expected, 200, step_of(1)));
      EXPECT_TRUE(actual == expected) << std::hex << bad << " at " << std::dec << position << ", seed " << kSeed;
    }
  }
}

// The random bits that compact_kernel adds to elements [0, kProbed), found by bisection of what they carry over.
class RandomBits {
 public:
  static constexpr size_t kProbed = 2048;

  explicit RandomBits(const AdamWStep& step)
      : source_{step.seed, step.layer, static_cast<uint32_t>(step.update_count)} {}

  std::vector<uint32_t> read() const {
    const std::vector<uint32_t> low = bisect([this](const auto& fractions) { return carries_of_masters(fractions); });
    const std::vector<uint32_t> high = bisect([this](const auto& fractions) { return carries_of_v(fractions); });
    std::vector<uint32_t> bits(kProbed);
    for (size_t i = 0; i < kProbed; ++i) bits[i] = high[i] << 16 | low[i];
    return bits;
  }

 private:
  using Carries = std::vector<bool>;
  static constexpr bf16_bits kOne = 0x3f80;

  // The bits r of each element, from a function that tells where fraction + r reaches 65,536.
  static std::vector<uint32_t> bisect(const std::function<Carries(const std::vector<uint32_t>&)>& carries) {
    std::vector<uint32_t> found(kProbed, 0);
    for (uint32_t bit = 0x8000; bit > 0; bit /= 2) {
      std::vector<uint32_t> fractions;
      for (const uint32_t bits : found) fractions.push_back(0x10000 - (bits | bit));
      const Carries reached = carries(fractions);
      for (size_t i = 0; i < kProbed; ++i) found[i] |= reached[i] ? bit : 0;
    }
    return found;
  }
  // m = g and the new master = 0 + m / 1: the gradient itself, 1 and a fraction of a bf16 step.
  Carries carries_of_masters(const std::vector<uint32_t>& fractions) const {
    Planes planes;
    for (size_t i = 0; i < kProbed; ++i) planes.gradient[i] = 1.0f + std::ldexp(static_cast<float>(fractions[i]), -23);
    update(planes, {.m_gradient = 1, .eps = 1, .step_size = -1});
    return above_one(planes.master);
  }
  // v = 1 + g * g, to the nearest fp32.
  Carries carries_of_v(const std::vector<uint32_t>& fractions) const {
    Planes planes;
    planes.v.assign(kProbed, kOne);
    for (size_t i = 0; i < kProbed; ++i)
      planes.gradient[i] = std::sqrt(std::ldexp(static_cast<float>(fractions[i]), -23));
    update(planes, {.v_gradient = 1, .beta2 = 1, .eps = 1});
    return above_one(planes.v);
  }

  struct Planes {
    std::vector<bf16_bits> master = std::vector<bf16_bits>(kProbed), m = master, v = master;
    std::vector<float> gradient = std::vector<float>(kProbed);
  };
  void update(Planes& p, const CompactScalars& scalars) const {
    const CompactRun<float> run{p.master.data(), p.m.data(), p.v.data(), p.gradient.data(), kProbed, 0};
    ASSERT_TRUE(compact_kernel<float>(best_instruction_set())(run, scalars, source_));
  }
  static Carries above_one(const std::vector<bf16_bits>& values) {
    Carries carries;
    for (const bf16_bits value : values) carries.push_back(value > kOne);
    return carries;
  }

  RoundingSource source_;
};

// No two elements, layers or updates share their random bits: those that the kernel uses.
TEST(RoundingSources, NoTwoRoundingsShareTheirBits) {
  std::set<uint32_t> seen;
  size_t drawn = 0;
  for (const uint32_t layer : {0u, 1u, 2u}) {
    for (const int64_t update : {1, 2, 3}) {
      AdamWStep step = step_of(update);
      step.layer = layer;
      const std::vector<uint32_t> bits = RandomBits(step).read();
      ASSERT_EQ(bits[77], reference_random(step, 77));  // the reading itself
      seen.insert(bits.begin(), bits.end());
      drawn += bits.size();
    }
  }
  // Of n draws of 32 bits about n^2 / 2^33 repeat: 0.04 here.
  EXPECT_GE(seen.size() + 1, drawn);
}

}  // namespace
}  // namespace penstock
