// The byte table against the buffers it sums, and the refusal's text.
#include "streaming/plan/memory_plan.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/bytes.h"
#include "core/error.h"
#include "model_grid.h"
#include "step_settings_grid.h"

namespace penstock {
namespace {

uint64_t bytes_of(const std::vector<MemoryClass>& classes, const std::string& name) {
  for (const MemoryClass& entry : classes) {
    if (entry.name == name) return entry.bytes;
  }
  ADD_FAILURE() << "no class " << name;
  return 0;
}

TEST(MemoryPlan, SumsEveryBufferOnce) {
  for (const auto& [settings, wire] : whole_and_cut_grid()) {
    const BufferTable buffers = planner(settings, wire).buffers();
    const MemoryPlan plan = plan_memory(buffers, 1000, 17, 23);
    uint64_t host = 23;
    uint64_t device = 17;
    for (const Buffer& buffer : buffers.all()) (on_device(buffer.kind) ? device : host) += buffer.bytes;
    ASSERT_EQ(plan.host_bytes(), host) << describe(settings);
    ASSERT_EQ(plan.device_bytes(), device) << describe(settings);
  }
}

TEST(MemoryPlan, ClassesByHand) {
  StepSettings settings = training(3, 1, 2);  // blocks 0 and 2 kept, block 1 recomputed; two gradient slots
  const MemoryPlan plan = plan_memory(planner(settings).buffers(), 7002, 111, 222);
  // Layers: embedding 2,000 elements, blocks 1,000, head 2,004.
  constexpr uint64_t kElements = 2000 + 3 * 1000 + 2004;
  EXPECT_EQ(bytes_of(plan.host, "wire weights"), 2 * kElements);
  EXPECT_EQ(bytes_of(plan.host, "optimizer state"), 10 * kElements);
  EXPECT_EQ(bytes_of(plan.host, "gradients"), 2 * kElements);
  EXPECT_EQ(bytes_of(plan.host, "embedding staging"), 4 * 300u);  // in and out, two micro-batches
  EXPECT_EQ(bytes_of(plan.host, "data"), 222u);
  EXPECT_EQ(bytes_of(plan.host, "other"), 5 * 64u + 2 * 8u + 64u);  // norms, loss sums, decision
  EXPECT_EQ(bytes_of(plan.device, "weight slots"), 2 * 2000u);
  EXPECT_EQ(bytes_of(plan.device, "head slot"), 4008u);
  EXPECT_EQ(bytes_of(plan.device, "gradient slots"), 2 * 4000u + 8016u);
  EXPECT_EQ(bytes_of(plan.device, "wire staging"), 2 * 2000u + 4008u);
  EXPECT_EQ(bytes_of(plan.device, "activations"), 4 * 2 * 300u);
  EXPECT_EQ(bytes_of(plan.device, "saved intermediates"), (2 * 2 + 1) * 700u);
  EXPECT_EQ(bytes_of(plan.device, "activation gradients"), 2 * 2 * 300u);
  EXPECT_EQ(bytes_of(plan.device, "workspace"), 900u);
  EXPECT_EQ(bytes_of(plan.device, "KV cache"), 0u);
  EXPECT_EQ(bytes_of(plan.device, "LibTorch temporaries"), 111u);
  EXPECT_EQ(bytes_of(plan.device, "other"), 16u);
}

TEST(MemoryPlan, EagerNeedsLessGradientMemory) {
  StepSettings settings = training(6, 1, 1);
  settings.gradient_slots = 1;
  const MemoryPlan deferred = plan_memory(planner(settings).buffers(), 1, 0, 0);
  settings.update = UpdateMode::kEager;
  const MemoryPlan eager = plan_memory(planner(settings).buffers(), 1, 0, 0);
  EXPECT_EQ(bytes_of(deferred.host, "gradients") - bytes_of(eager.host, "gradients"), (6 - 2) * 2000u);
}

bool does_not_fit(const std::function<void()>& sum) {
  try {
    sum();
  } catch (const Error& error) {
    return error.code() == ExitCode::kDoesNotFit;
  }
  return false;
}

TEST(MemoryPlan, SumsBeyond64BitsAreRefusedAndDoNotWrap) {
  constexpr uint64_t kHalf = uint64_t{1} << 63;
  BufferTable buffers;
  buffers.add({.kind = BufferKind::kHostWire, .index = 0, .bytes = kHalf});
  EXPECT_EQ(plan_memory(buffers, 1, 0, kHalf - 1).host_bytes(), UINT64_MAX);
  EXPECT_TRUE(does_not_fit([&] { plan_memory(buffers, 1, 0, kHalf).host_bytes(); })) << "over two classes";
  EXPECT_TRUE(does_not_fit([&] { plan_memory(buffers, 1, kHalf, 0).all_bytes(); })) << "over host and device";
  buffers.add({.kind = BufferKind::kHostWire, .index = 1, .bytes = kHalf});
  EXPECT_TRUE(does_not_fit([&] { plan_memory(buffers, 1, 0, 0); })) << "within a class";
}

TEST(MemoryPlan, TableAlignsAndDividesByParameters) {
  MemoryPlan plan;
  plan.parameter_count = 1024;
  plan.host = {{"wire weights", 2 * kKiB}, {"data", 0}};
  plan.device = {{"weight slots", 3 * kKiB}};
  const std::string table = format_memory_plan(plan);
  EXPECT_NE(table.find("wire weights"), std::string::npos) << table;
  EXPECT_EQ(table.find("data"), std::string::npos) << "empty classes are left out\n" << table;
  EXPECT_NE(table.find(format_bytes(2 * kKiB)), std::string::npos) << table;
  EXPECT_NE(table.find("2.00\n"), std::string::npos) << table;
  EXPECT_NE(table.find("3.00\n"), std::string::npos) << table;
  size_t width = 0;
  for (size_t begin = 0; begin < table.size();) {
    const size_t end = table.find('\n', begin);
    if (width == 0) width = end - begin;
    EXPECT_EQ(end - begin, width) << table;
    begin = end + 1;
  }
}

MemoryPlan plan_of(uint64_t host, uint64_t device) {
  MemoryPlan plan;
  plan.host = {{"wire weights", host}};
  plan.device = {{"weight slots", device}};
  plan.parameter_count = 1;
  return plan;
}

std::string refusal(const MemoryPlan& plan, const MemoryLimits& limits, const std::vector<Remedy>& remedies) {
  try {
    require_fit(plan, limits, remedies);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kDoesNotFit);
    EXPECT_EQ(static_cast<int>(error.code()), 69);
    return error.what();
  }
  return "";
}

TEST(MemoryPlan, WhatFitsExactlyIsAccepted) {
  EXPECT_NO_THROW(require_fit(plan_of(10, 20), {}, {}));
  EXPECT_NO_THROW(require_fit(plan_of(10, 20), {.host_bytes = 10, .device_bytes = 20}, {}));
}

TEST(MemoryPlan, RefusalNamesTheSideTheShortageAndWhatHelps) {
  const MemoryPlan plan = plan_of(1 * kGiB, 3 * kGiB);
  const MemoryLimits limits{.host_bytes = 2 * kGiB, .device_bytes = 2 * kGiB};
  const std::string text = refusal(plan, limits,
                                   {{"memory.prefetch_depth=1", plan_of(1 * kGiB, 2 * kGiB)},
                                    {"memory.gradient_slots=1", plan_of(1 * kGiB, 2 * kGiB + 1)},
                                    {"memory.activations=recompute", plan_of(1 * kGiB, 1 * kGiB)}});
  const std::string first_line = text.substr(0, text.find('\n'));
  EXPECT_EQ(first_line, "the run does not fit: device memory (device.memory_gb): " + format_bytes(3 * kGiB) +
                            " needed, " + format_bytes(2 * kGiB) + " there, " + format_bytes(1 * kGiB) +
                            " too much; would fit with memory.prefetch_depth=1 or memory.activations=recompute");
  EXPECT_EQ(text.substr(text.find('\n') + 1), format_memory_plan(plan));
}

TEST(MemoryPlan, RefusalSaysWhenNothingHelps) {
  const MemoryPlan plan = plan_of(3 * kGiB, 3 * kGiB);
  const MemoryLimits limits{.host_bytes = 2 * kGiB, .device_bytes = 2 * kGiB};
  const std::string text = refusal(plan, limits, {{"memory.prefetch_depth=1", plan_of(3 * kGiB, 1 * kGiB)}});
  EXPECT_NE(text.find("host memory (memory.host_memory_gb): "), std::string::npos) << text;
  EXPECT_NE(text.find("; device memory (device.memory_gb): "), std::string::npos) << text;
  EXPECT_NE(text.find("does not fit with memory.prefetch_depth=1 either"), std::string::npos) << text;
  EXPECT_NE(refusal(plan, limits, {}).find("use a smaller model"), std::string::npos);
}

}  // namespace
}  // namespace penstock
