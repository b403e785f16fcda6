#include "model/config_blocks.h"

#include <algorithm>

#include "fmt/format.h"

namespace penstock {
namespace {

using nlohmann::json;

constexpr const char* kSliding = "sliding_attention";

// no_rope_layers has an entry for each block, and may have more: nonzero rotates. Without it every n-th block does not.
std::vector<uint8_t> read_rotary_blocks(const ConfigFields& fields, int64_t blocks) {
  const int64_t interval = fields.integer("no_rope_layer_interval").value_or(4);
  std::vector<uint8_t> rotary(static_cast<size_t>(blocks), 1);
  const json* list = fields.find("no_rope_layers");
  if (list == nullptr) {
    if (interval < 1) fields.refuse("no_rope_layer_interval", "give a value of at least 1");
    for (int64_t block = 0; block < blocks; ++block) {
      rotary[static_cast<size_t>(block)] = (block + 1) % interval != 0 ? 1 : 0;
    }
    return rotary;
  }
  if (!list->is_array() || list->size() < rotary.size()) {
    fields.refuse("no_rope_layers", fmt::format("it must be a list with an integer for each of {} blocks", blocks));
  }
  for (const json& entry : *list) {
    if (!is_int64(entry)) fields.refuse("no_rope_layers", "it must be a list of integers");
  }
  for (size_t block = 0; block < rotary.size(); ++block) rotary[block] = (*list)[block] != 0 ? 1 : 0;
  return rotary;
}

// Which blocks layer_types makes sliding; empty where it is not given.
std::vector<bool> read_layer_types(const ConfigFields& fields, int64_t blocks) {
  const json* list = fields.find("layer_types");
  if (list == nullptr) return {};
  if (!list->is_array() || list->size() != static_cast<size_t>(blocks)) {
    fields.refuse("layer_types", fmt::format("it must be a list with one entry for each of {} blocks", blocks));
  }
  std::vector<bool> sliding;
  for (const json& entry : *list) {
    const bool is_full = entry == "full_attention" || entry == "attention";  // the second is an older name
    if (!is_full && entry != kSliding) {
      fields.refuse("layer_types", "Penstock supports \"full_attention\" and \"sliding_attention\" only");
    }
    sliding.push_back(!is_full);
  }
  return sliding;
}

// 0: none.
int64_t read_sliding_window(const ConfigFields& fields, const ConfigFamily& family) {
  if (!fields.contains("sliding_window")) return family.sliding_window;
  if (fields.find("sliding_window") == nullptr) return 0;
  return *fields.integer("sliding_window");
}

// The blocks with a window where no layer_types says so.
std::vector<bool> default_sliding(const ConfigFields& fields, const ConfigFamily& family,
                                  const std::vector<uint8_t>& rotary, int64_t blocks) {
  std::vector<bool> sliding(static_cast<size_t>(blocks), family.window_rule == WindowRule::kEveryBlock);
  const int64_t first = fields.integer("max_window_layers").value_or(28);
  for (int64_t block = 0; block < blocks; ++block) {
    const auto at = static_cast<size_t>(block);
    if (family.window_rule == WindowRule::kUpperBlocks) sliding[at] = block >= first;
    if (family.window_rule == WindowRule::kUnrotated) sliding[at] = rotary[at] == 0;
  }
  return sliding;
}

// use_sliding_window, for the families that read it.
bool uses_window(const ConfigFields& fields, const ConfigFamily& family) {
  if (family.window_rule == WindowRule::kEveryBlock) return true;
  if (family.window_rule == WindowRule::kNone) return false;
  return fields.boolean("use_sliding_window").value_or(false);
}

std::vector<int64_t> read_windows(const ConfigFields& fields, const ConfigFamily& family,
                                  const std::vector<uint8_t>& rotary, int64_t blocks) {
  const bool used = uses_window(fields, family);
  const int64_t window = read_sliding_window(fields, family);
  if (used && window < 1 && fields.find("sliding_window") != nullptr) {
    fields.refuse("sliding_window", "give a value of at least 1, or null for none");
  }
  const bool has_window = used && window > 0;
  std::vector<bool> sliding = read_layer_types(fields, blocks);
  const bool is_explicit = !sliding.empty();
  if (!is_explicit) sliding = default_sliding(fields, family, rotary, blocks);
  std::vector<int64_t> windows(sliding.size(), 0);
  for (size_t block = 0; block < sliding.size(); ++block) {
    if (is_explicit && sliding[block] && !has_window) {
      fields.refuse("layer_types", "a sliding_attention block needs a sliding_window that the model uses");
    }
    if (is_explicit && !sliding[block] && has_window && family.window_rule == WindowRule::kEveryBlock) {
      fields.refuse("layer_types", fmt::format("every block of {} has the sliding_window", family.model_type));
    }
    if (sliding[block] && has_window) windows[block] = window;
  }
  return windows;
}

}  // namespace

void read_block_lists(const ConfigFields& fields, const ConfigFamily& family, ModelConfig& config) {
  std::vector<uint8_t> rotary(static_cast<size_t>(config.num_hidden_layers), 1);
  if (family.reads_unrotated_blocks) rotary = read_rotary_blocks(fields, config.num_hidden_layers);
  std::vector<int64_t> windows = read_windows(fields, family, rotary, config.num_hidden_layers);
  const auto is_zero = [](int64_t window) { return window == 0; };
  const auto is_rotated = [](uint8_t rotates) { return rotates != 0; };
  if (!std::all_of(windows.begin(), windows.end(), is_zero)) config.windows = std::move(windows);
  if (!std::all_of(rotary.begin(), rotary.end(), is_rotated)) config.rotary_blocks = std::move(rotary);
}

}  // namespace penstock
