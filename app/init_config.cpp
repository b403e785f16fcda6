#include "app/init_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>

#include "app/config_file.h"
#include "app/config_keys.h"
#include "app/model_setup.h"
#include "app/model_size.h"
#include "app/run_setup.h"
#include "core/byte_vocabulary.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/file.h"
#include "core/system_memory.h"
#include "data/file_list.h"
#include "model/hf_folder.h"
#include "model/hub_cache.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

// Enough that weights, crossing the link twice a step, and the update hide under compute on most machines.
constexpr int64_t kTokensPerStep = 8192;
constexpr int64_t kMostMicroBatches = 64;
constexpr const char* kDataPlaceholder = "data/train.jsonl";

// What is varied until the run fits; wishes first.
struct Choice {
  int64_t rows = 8;
  int64_t length = 1024;
  bool recomputes = false;
  int64_t trained_blocks = 0;  // 0: all of the model
};

// The parts of the text that do not depend on the choice.
struct Draft {
  bool fine_tunes = false;
  bool from_scratch_folder = false;
  std::string model_folder;  // as the user named it; empty: `shape`
  ModelConfig shape;
  std::vector<std::string> data;
  bool has_token_rows = false;
};

// One commented key a line pair; the comment is the key table's.
class YamlText {
 public:
  void section(const char* name) {
    section_ = name;
    text_ += fmt::format("\n{}:\n", name);
  }
  template <typename Value>
  void key(const char* name, const Value& value) {
    comment(name);
    text_ += fmt::format("  {}: {}\n", name, value);
  }
  void texts(const char* name, const std::vector<std::string>& values) {
    const ConfigKey& row = config_key(section_ + "." + name);
    comment(name);
    text_ += fmt::format("  {}: {}\n", name, key_value_text(row, KeyValue{values}));
  }
  void text(const char* name, const std::string& value) {
    const ConfigKey& row = config_key(section_ + "." + name);
    comment(name);
    text_ += fmt::format("  {}: {}\n", name, key_value_text(row, KeyValue{value}));
  }
  // A key a user may want next, switched off.
  void offered(const char* name, const char* value) {
    comment(name);
    text_ += fmt::format("  # {}: {}\n", name, value);
  }
  std::string take() { return std::move(text_); }

 private:
  void comment(const char* name) {
    const ConfigKey& row = config_key(section_ + "." + name);
    const bool says_unit = row.unit.empty() || row.meaning.find(row.unit) != std::string_view::npos;
    text_ += fmt::format("  # {}{}\n", row.meaning, says_unit ? "" : fmt::format(" ({})", row.unit));
  }

  std::string section_;
  std::string text_;
};

void write_model(YamlText& yaml, const Draft& draft) {
  yaml.section("model");
  if (!draft.model_folder.empty()) {
    yaml.text("model_name_or_path", draft.model_folder);
    if (draft.from_scratch_folder) yaml.key("train_from_scratch", "true");
    return;
  }
  yaml.key("model_type", draft.shape.model_type);
  yaml.key("hidden_size", draft.shape.hidden_size);
  yaml.key("intermediate_size", draft.shape.intermediate_size);
  yaml.key("num_hidden_layers", draft.shape.num_hidden_layers);
  yaml.key("num_attention_heads", draft.shape.num_attention_heads);
  yaml.key("num_key_value_heads", draft.shape.num_key_value_heads);
  yaml.key("head_dim", draft.shape.head_dim);
  if (draft.has_token_rows) yaml.key("vocab_size", draft.shape.vocab_size);
}

void write_dataset(YamlText& yaml, const Draft& draft, const Choice& choice) {
  yaml.section("dataset");
  yaml.texts("path", draft.data.empty() ? std::vector<std::string>{kDataPlaceholder} : draft.data);
  if (draft.has_token_rows) {
    yaml.key("tokenizer", "none");
  } else if (draft.model_folder.empty()) {
    yaml.key("tokenizer", "byte");
  }
  yaml.key("max_seq_len", choice.length);
  yaml.offered("val_size", "0.01");
}

void write_training(YamlText& yaml, const Draft& draft, const Choice& choice) {
  yaml.section("training");
  if (choice.trained_blocks > 0) {
    yaml.key("finetuning_type", "freeze");
    yaml.key("freeze_trainable_layers", choice.trained_blocks);
  } else if (draft.fine_tunes) {
    yaml.offered("trainable", "[\"model.layers.1?.*\", \"lm_head.weight\"]");
  }
  yaml.key("per_device_train_batch_size", choice.rows);
  const int64_t micro_batches = kTokensPerStep / (choice.rows * choice.length);
  yaml.key("gradient_accumulation_steps", std::clamp<int64_t>(micro_batches, 1, kMostMicroBatches));
  yaml.key("num_train_epochs", draft.fine_tunes ? 3 : 1);
  yaml.offered("max_steps", "1000");
  yaml.key("learning_rate", draft.fine_tunes ? "1.0e-5" : "6.0e-4");
  yaml.key("lr_scheduler_type", "cosine");
  yaml.key("warmup_ratio", "0.03");
  yaml.key("weight_decay", draft.fine_tunes ? "0.0" : "0.1");
  yaml.key("max_grad_norm", "1.0");
  yaml.key("save_steps", 500);
  yaml.key("save_total_limit", 2);
}

std::string config_text(const Draft& draft, const Choice& choice) {
  YamlText yaml;
  write_model(yaml, draft);
  write_dataset(yaml, draft, choice);
  write_training(yaml, draft, choice);
  yaml.section("optimizer");
  yaml.key("state_format", "exact");
  yaml.section("memory");
  yaml.key("prefetch_depth", 1);
  yaml.key("activations", choice.recomputes ? "recompute" : "keep");
  yaml.section("device");
  yaml.key("backend", "auto");
  yaml.offered("memory_gb", "24");
  return yaml.take();
}

// Wishes first: everything trained and kept, then less memory, then shorter rows, then fewer trained blocks.
std::vector<Choice> choices(const Draft& draft, const ModelConfig& model) {
  const int64_t longest = std::min<int64_t>(1024, model.max_position_embeddings);
  std::vector<int64_t> trained = {0};
  if (draft.fine_tunes) {
    for (int64_t blocks = model.num_hidden_layers / 2; blocks >= 1; blocks /= 2) trained.push_back(blocks);
  }
  std::vector<Choice> all;
  for (const int64_t blocks : trained) {
    for (const int64_t length : {longest, std::max<int64_t>(1, longest / 4)}) {
      for (const bool recomputes : {false, true}) {
        for (const int64_t rows : {8, 4, 2, 1}) all.push_back({rows, length, recomputes, blocks});
      }
    }
  }
  return all;
}

bool is_jsonl_of_tokens(const std::vector<std::string>& data) {
  if (data.empty()) return false;
  const std::string first = expand_paths(data, "--data").front();
  if (!first.ends_with(".jsonl")) return false;
  InputFile file(first);
  std::string head(std::min<uint64_t>(file.size_bytes(), 4096), '\0');
  file.read(0, std::as_writable_bytes(std::span(head)));
  return head.substr(0, head.find('\n')).find("\"input_ids\"") != std::string::npos;
}

Draft make_draft(const InitRequest& request) {
  Draft draft;
  draft.data = request.data;
  draft.has_token_rows = is_jsonl_of_tokens(request.data);
  const std::optional<ModelSize> size = parse_model_size(request.model);
  std::error_code error;
  if (size && !fs::exists(request.model, error)) {
    draft.shape = shape_of_size(*size, kByteVocabularySize);
    return draft;
  }
  draft.model_folder = request.model;
  // A folder with a shape only is one to train from scratch; resolve_model_path() would ask for its weights.
  draft.from_scratch_folder =
      fs::exists(fs::path(request.model) / "config.json", error) && !holds_weights(request.model);
  draft.fine_tunes = !draft.from_scratch_folder;
  return draft;
}

std::string heading(const InitRequest& request, const RunSetup& setup, const RunPlan& plan) {
  const MemoryPlan memory = memory_plan(plan, 0);
  const ParameterCounts counts = parameter_counts(setup);
  const double share = 100.0 * static_cast<double>(counts.trained) / static_cast<double>(counts.all);
  return fmt::format(
      "# Written by `penstock init {}`. docs/configuration.md lists every key.\n"
      "# {}: {:.1f}M parameters, {:.0f}% of them trained. Planned: {} on the host, {} on the device; this machine has\n"
      "# {} free.\n",
      request.model, setup.model.model_type, static_cast<double>(counts.all) / 1e6, share,
      format_bytes(memory.host_bytes()), format_bytes(memory.device_bytes()),
      format_bytes(read_host_memory().available_bytes));
}

RunSetup setup_of(const std::string& text) {
  const auto ignore = [](const std::string&) {};
  return set_up_run(parse_run_config(text, "init", {}, ignore, DataNeed::kRequired), CudaLook::kLook);
}

}  // namespace

std::string init_config_text(const InitRequest& request) {
  const Draft draft = make_draft(request);
  if (draft.has_token_rows && draft.model_folder.empty()) {
    throw Error(ExitCode::kBadInput,
                "init: --data holds `input_ids`, whose vocabulary a new shape cannot know; give "
                "the model folder whose tokenizer made them, or text");
  }
  const ModelConfig model = setup_of(config_text(draft, {.rows = 1, .length = 1})).model;
  std::string refusal;
  for (const Choice& choice : choices(draft, model)) {
    const std::string text = config_text(draft, choice);
    try {
      const RunSetup setup = setup_of(text);
      const RunPlan plan = plan_run(training_shape(setup), step_settings(setup, Purpose::kTrain));
      require_fit(setup, plan, draft.data.empty() ? 0 : data_file_bytes(setup));
      return heading(request, setup, plan) + text;
    } catch (const Error& error) {
      if (error.code() != ExitCode::kDoesNotFit) throw;
      refusal = error.what();
    }
  }
  throw Error(ExitCode::kDoesNotFit, "init: " + refusal);
}

std::string init_config_name(const std::string& model) {
  std::string name = model;
  if (const std::optional<ModelSize> size = parse_model_size(model)) {
    const size_t colon = model.find(':');
    name = size->model_type + "-" + (colon == std::string::npos ? model : model.substr(colon + 1));
  } else {
    fs::path path = fs::path(model).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    name = path.filename().string();
  }
  for (char& c : name)
    c = static_cast<char>(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.'
                              ? std::tolower(static_cast<unsigned char>(c))
                              : '-');
  return name.empty() || name == "." || name == ".." ? "penstock" : name;
}

}  // namespace penstock
