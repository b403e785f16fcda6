// Philox 4x32-7 (core/random.h) in vector lanes: 32 random bits for every element, one Philox block for four.
// Included once per instruction set, after vector_lanes.h.
//
// Key = the run's seed; counter = (element / 4 in 64 bits, layer, update). A 64-bit lane works on one block: its four
// words live in the low halves of four registers, where the widening multiply wants them, and what is above is
// garbage that no step reads. That makes a round 2 multiplies, 2 shifts and 2 three-way xors for as many blocks as
// there are 64-bit lanes. Only word 0 varies from lane to lane, so most of rounds 1 and 2 are constants of the call.
//
// The last round leaves two words of each block side by side in one register, and those are taken as they lie:
// elements 4b, 4b + 1, 4b + 2, 4b + 3 get words 1, 3, 0, 2 of block b. Even elements lie in one register and odd ones
// in the other, as vector_lanes.h has them.
class PhiloxLanes {
 public:
  // The next element is `first_element`, a multiple of kPairElements. Elements drawn from one object have the same
  // upper half of element / 4.
  __attribute__((always_inline)) inline PhiloxLanes(const RoundingSource& source, uint64_t first_element) {
    set_constants(source, static_cast<uint32_t>(first_element / 4 >> 32));
    uint64_t counters[kLanes / 2];
    for (uint64_t i = 0; i < kLanes / 2; ++i) counters[i] = first_element / 4 + i;
    __builtin_memcpy(&counter_, counters, sizeof(counter_));
  }

  __attribute__((always_inline)) inline PairU32 next() {
    const U64 multiplier0 = broadcast(uint64_t{0xD2511F53u});
    const U64 multiplier1 = broadcast(uint64_t{0xCD9E8D57u});
    // Round 1: words 0 and 1 become constants. Round 2: word 3 does.
    U64 product0 = multiply_low_halves(counter_, multiplier0);
    counter_ += kLanes / 2;
    U64 word2 = (product0 >> 32) ^ round1_word2_;
    U64 word3 = product0;
    U64 product1 = multiply_low_halves(word2, multiplier1);
    U64 word0 = (product1 >> 32) ^ round2_word0_;
    U64 word1 = product1;
    word2 = word3 ^ round2_word2_;
    product0 = multiply_low_halves(word0, multiplier0);
    product1 = multiply_low_halves(word2, multiplier1);
    word0 = xor3(product1 >> 32, word1, key0_[2]);
    word1 = product1;
    word2 = (product0 >> 32) ^ round3_word2_;
    word3 = product0;
#pragma GCC unroll 3
    for (int round = 3; round < kRounds - 1; ++round) {
      product0 = multiply_low_halves(word0, multiplier0);
      product1 = multiply_low_halves(word2, multiplier1);
      word0 = xor3(product1 >> 32, word1, key0_[round]);
      word1 = product1;
      word2 = xor3(product0 >> 32, word3, key1_[round]);
      word3 = product0;
    }
    product0 = multiply_low_halves(word0, multiplier0);
    product1 = multiply_low_halves(word2, multiplier1);
    return {(U32)xor3(product1, word1 << 32, key0_[kRounds - 1]), (U32)xor3(product0, word3 << 32, key1_[kRounds - 1])};
  }

 private:
  static constexpr int kRounds = 7;

  __attribute__((always_inline)) inline void set_constants(const RoundingSource& source, uint32_t counter_high) {
    uint32_t key0[kRounds], key1[kRounds];
    for (uint32_t round = 0; round < kRounds; ++round) {
      key0[round] = static_cast<uint32_t>(source.seed) + round * 0x9E3779B9u;
      key1[round] = static_cast<uint32_t>(source.seed >> 32) + round * 0xBB67AE85u;
      key0_[round] = broadcast(uint64_t{key0[round]});
      key1_[round] = broadcast(uint64_t{key1[round]});
    }
    key0_[kRounds - 1] <<= 32;  // the last round's words 0 and 2 stay in the upper halves
    key1_[kRounds - 1] <<= 32;
    const uint64_t round1_product = uint64_t{0xCD9E8D57u} * source.layer;
    round1_word2_ = broadcast(uint64_t{source.update ^ key1[0]});
    round2_word0_ = broadcast(uint64_t{static_cast<uint32_t>(round1_product) ^ key0[1]});
    const uint32_t round1_word0 = static_cast<uint32_t>(round1_product >> 32) ^ counter_high ^ key0[0];
    const uint64_t round2_product = uint64_t{0xD2511F53u} * round1_word0;
    round2_word2_ = broadcast(uint64_t{static_cast<uint32_t>(round2_product >> 32) ^ key1[1]});
    round3_word2_ = broadcast(uint64_t{static_cast<uint32_t>(round2_product) ^ key1[2]});
  }

  U64 counter_;  // lane i: block i of the next ones
  U64 round1_word2_, round2_word0_, round2_word2_, round3_word2_;
  U64 key0_[kRounds], key1_[kRounds];
};
