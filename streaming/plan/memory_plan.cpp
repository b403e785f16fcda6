#include "streaming/plan/memory_plan.h"

#include <cstdio>

#include "core/bytes.h"
#include "core/error.h"

namespace penstock {
namespace {

std::string_view class_of(BufferKind kind) {
  switch (kind) {
    case BufferKind::kHostWire:
      return "wire weights";
    case BufferKind::kHostState:
      return "optimizer state";
    case BufferKind::kHostGradient:
      return "gradients";
    case BufferKind::kEmbedStaging:
    case BufferKind::kEmbedGradientStaging:
      return "embedding staging";
    case BufferKind::kNorm:
    case BufferKind::kHostLoss:
    case BufferKind::kDecision:
    case BufferKind::kHostLogits:
    case BufferKind::kHostTokens:
      return "other";
    case BufferKind::kWeightSlot:
      return "weight slots";
    case BufferKind::kHeadSlot:
      return "head slot";
    case BufferKind::kActivation:
      return "activations";
    case BufferKind::kSaved:
    case BufferKind::kRecomputed:
      return "saved intermediates";
    case BufferKind::kActivationGradient:
      return "activation gradients";
    case BufferKind::kGradientSlot:
    case BufferKind::kHeadGradientSlot:
      return "gradient slots";
    case BufferKind::kWireStaging:
    case BufferKind::kHeadWireStaging:
      return "wire staging";
    case BufferKind::kHeadStatistics:
    case BufferKind::kHeadInputGradient:
      return "head in parts";
    case BufferKind::kWorkspace:
      return "workspace";
    case BufferKind::kKvCache:
      return "KV cache";
    case BufferKind::kBatchTable:
    case BufferKind::kLoss:
    case BufferKind::kLogits:
      return "other";
  }
  return "other";
}

uint64_t checked_sum(uint64_t a, uint64_t b) {
  if (a <= UINT64_MAX - b) return a + b;
  throw Error(ExitCode::kDoesNotFit,
              "the run does not fit: it needs more bytes than 64 bits count; use a smaller model or a shorter batch");
}

void charge(std::vector<MemoryClass>& classes, std::string_view name, uint64_t bytes) {
  for (MemoryClass& entry : classes) {
    if (entry.name == name) entry.bytes = checked_sum(entry.bytes, bytes);
  }
}

uint64_t total(const std::vector<MemoryClass>& classes) {
  uint64_t bytes = 0;
  for (const MemoryClass& entry : classes) bytes = checked_sum(bytes, entry.bytes);
  return bytes;
}

void append_row(std::string& text, const std::string& name, uint64_t bytes, uint64_t parameter_count) {
  const double per_parameter =
      parameter_count == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(parameter_count);
  char row[128];
  std::snprintf(row, sizeof row, "  %-22s %12s %10.2f\n", name.c_str(), format_bytes(bytes).c_str(), per_parameter);
  text += row;
}

void append_side(std::string& text, const char* side, const std::vector<MemoryClass>& classes, const MemoryPlan& plan) {
  char header[128];
  std::snprintf(header, sizeof header, "%-24s %12s %10s\n", side, "bytes", "B/param");
  text += header;
  for (const MemoryClass& entry : classes) {
    if (entry.bytes > 0) append_row(text, entry.name, entry.bytes, plan.parameter_count);
  }
  append_row(text, "total", total(classes), plan.parameter_count);
}

bool fits(const MemoryPlan& plan, const MemoryLimits& limits) {
  return plan.host_bytes() <= limits.host_bytes && plan.device_bytes() <= limits.device_bytes;
}

std::string shortage(const char* side, uint64_t needed, uint64_t limit) {
  return std::string(side) + ": " + format_bytes(needed) + " needed, " + format_bytes(limit) + " there, " +
         format_bytes(needed - limit) + " too much";
}

std::string advice(const MemoryLimits& limits, const std::vector<Remedy>& remedies) {
  std::string fitting;
  std::string tried;
  for (const Remedy& remedy : remedies) {
    std::string& list = fits(remedy.plan, limits) ? fitting : tried;
    list += (list.empty() ? "" : " or ") + remedy.setting;
  }
  if (!fitting.empty()) return "would fit with " + fitting;
  if (!tried.empty())
    return "does not fit with " + tried + " either: use a smaller model, a shorter batch or a larger machine";
  return "use a smaller model, a shorter batch or a larger machine";
}

}  // namespace

uint64_t MemoryPlan::host_bytes() const { return total(host); }
uint64_t MemoryPlan::device_bytes() const { return total(device); }
uint64_t MemoryPlan::all_bytes() const { return checked_sum(host_bytes(), device_bytes()); }

MemoryPlan plan_memory(const BufferTable& buffers, uint64_t parameter_count, uint64_t temporary_bytes,
                       uint64_t data_bytes) {
  MemoryPlan plan;
  plan.parameter_count = parameter_count;
  for (const char* name : {"wire weights", "optimizer state", "gradients", "embedding staging", "data", "other"}) {
    plan.host.push_back({name, 0});
  }
  for (const char* name :
       {"weight slots", "head slot", "head in parts", "gradient slots", "wire staging", "activations",
        "saved intermediates", "activation gradients", "workspace", "KV cache", "LibTorch temporaries", "other"}) {
    plan.device.push_back({name, 0});
  }
  for (const Buffer& buffer : buffers.all()) {
    charge(on_device(buffer.kind) ? plan.device : plan.host, class_of(buffer.kind), buffer.bytes);
  }
  charge(plan.host, "data", data_bytes);
  charge(plan.device, "LibTorch temporaries", temporary_bytes);
  return plan;
}

std::string format_memory_plan(const MemoryPlan& plan) {
  std::string text;
  append_side(text, "host", plan.host, plan);
  append_side(text, "device", plan.device, plan);
  return text;
}

void require_fit(const MemoryPlan& plan, const MemoryLimits& limits, const std::vector<Remedy>& remedies) {
  if (fits(plan, limits)) return;
  std::string text = "the run does not fit: ";
  const bool host_short = plan.host_bytes() > limits.host_bytes;
  if (host_short) {
    text += shortage("host memory (memory.host_memory_gb)", plan.host_bytes(), limits.host_bytes);
    if (!limits.host_source.empty()) text += " (" + limits.host_source + ")";
  }
  if (plan.device_bytes() > limits.device_bytes) {
    text += (host_short ? "; " : "") +
            shortage("device memory (device.memory_gb)", plan.device_bytes(), limits.device_bytes);
  }
  throw Error(ExitCode::kDoesNotFit, text + "; " + advice(limits, remedies) + "\n" + format_memory_plan(plan));
}

}  // namespace penstock
