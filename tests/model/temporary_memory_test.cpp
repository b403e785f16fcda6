// The counting allocator: who is charged, what is refused, and frees on other threads.
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>

#include <atomic>
#include <thread>

#include "core/error.h"
#include "model/temporary_memory.h"

namespace penstock {
namespace {

class Budget final : public TemporaryObserver {
 public:
  explicit Budget(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  bool charge(int64_t bytes) override {
    if (bytes > 0 && used_bytes_ + bytes > limit_bytes_) return false;
    used_bytes_ += bytes;
    return true;
  }
  int64_t used_bytes() const { return used_bytes_; }

 private:
  int64_t limit_bytes_;
  std::atomic<int64_t> used_bytes_ = 0;
};

TEST(TemporaryMemory, ChargesTheObservingThreadOnly) {
  install_counting_allocator();
  Budget budget(1 << 20);
  const at::Tensor before = at::empty({1000}, at::kFloat);
  {
    const TemporaryObservation observation(budget);
    EXPECT_EQ(budget.used_bytes(), 0);
    at::Tensor observed = at::empty({1000}, at::kFloat);
    EXPECT_GE(budget.used_bytes(), 4000);
    std::thread([] { (void)at::empty({1000}, at::kFloat).fill_(1.0f); }).join();
    EXPECT_LT(budget.used_bytes(), 8000);
    observed.reset();
    EXPECT_EQ(budget.used_bytes(), 0);
  }
  const at::Tensor after = at::empty({1000}, at::kFloat);
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(TemporaryMemory, AFreeOnAnotherThreadIsGivenBack) {
  install_counting_allocator();
  Budget budget(1 << 20);
  at::Tensor tensor;
  {
    const TemporaryObservation observation(budget);
    tensor = at::empty({1000}, at::kFloat);
  }
  EXPECT_GE(budget.used_bytes(), 4000);
  std::thread([moved = std::move(tensor)]() mutable { moved.reset(); }).join();
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(TemporaryMemory, ARefusalIsOneClearError) {
  install_counting_allocator();
  Budget budget(1 << 20);
  const TemporaryObservation observation(budget);
  try {
    (void)at::empty({1 << 20}, at::kFloat);
    FAIL() << "4 MiB went through a budget of 1 MiB";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
    EXPECT_NE(std::string(error.what()).find("4.00 MiB"), std::string::npos) << error.what();
  }
  EXPECT_EQ(budget.used_bytes(), 0);
  const at::Tensor fits = at::empty({16}, at::kFloat);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(fits.const_data_ptr()) % 64, 0u);
}

}  // namespace
}  // namespace penstock
