// The rows of the key table. Leaf names are Hugging Face's and LLaMA-Factory's wherever they have one.
#include <utility>

#include "app/config_keys_row.h"

namespace penstock {

namespace {

constexpr double kMostCount = 1e15;  // steps, tokens: exact in a double
constexpr double kMostExtent = 16'777'216;
constexpr double kMostSeed = 9'007'199'254'740'991;  // 2^53 - 1

// A field of RunConfig as a generic lambda, so that one row serves reading and writing.
#define FIELD(path) \
  [](auto& config) -> auto& { return config.path; }

constexpr KeyEffect kNo = KeyEffect::kNone;
constexpr KeyEffect kRounding = KeyEffect::kRounding;
constexpr KeyEffect kYes = KeyEffect::kResults;

// An extent of the model: 0 in ModelConfig means "not given".
template <typename Access>
Row extent(std::string_view name, Access access) {
  Row row(name, KeyType::kInteger, access);
  row.key.read = [access](const RunConfig& config) {
    return access(config) == 0 ? KeyValue{} : KeyValue{access(config)};
  };
  return row;
}

// model_type is text in ModelConfig; here it is a choice of one, so that other families are refused by name.
Row model_type_row() {
  Row row = choice("model_type", FIELD(model.shape.model_type));
  row.key.read = [](const RunConfig&) { return KeyValue{int64_t{0}}; };
  row.key.write = [](RunConfig& config, const KeyValue&) { config.model.shape.model_type = "llama"; };
  return std::move(row).choices({"llama"}).means(kYes, "family of the model");
}

std::vector<Row> shape_rows() {
  return {
      model_type_row(),
      extent("vocab_size", FIELD(model.shape.vocab_size))
          .range(1, kMostExtent)
          .shown("259 with `tokenizer: byte`")
          .means(kYes, "rows of the embedding and of the head"),
      extent("hidden_size", FIELD(model.shape.hidden_size)).range(1, kMostExtent).means(kYes, "width of the model"),
      extent("intermediate_size", FIELD(model.shape.intermediate_size))
          .range(1, kMostExtent)
          .means(kYes, "width inside the feed-forward part"),
      extent("num_hidden_layers", FIELD(model.shape.num_hidden_layers)).range(1, 65536).means(kYes, "number of blocks"),
      extent("num_attention_heads", FIELD(model.shape.num_attention_heads))
          .range(1, 65536)
          .means(kYes, "query heads per block"),
      extent("num_key_value_heads", FIELD(model.shape.num_key_value_heads))
          .range(1, 65536)
          .shown("num_attention_heads")
          .means(kYes, "key and value heads per block; fewer than query heads is grouped-query attention"),
      extent("head_dim", FIELD(model.shape.head_dim))
          .range(2, 65536)
          .shown("hidden_size / num_attention_heads")
          .means(kYes, "width of one head"),
      whole("max_position_embeddings", FIELD(model.shape.max_position_embeddings))
          .range(1, kMostExtent)
          .shown("2048, or max_seq_len if that is more")
          .means(kYes, "longest sequence the model is meant for"),
      number("rms_norm_eps", FIELD(model.shape.rms_norm_eps)).above(0, 1).means(kYes, "added under the norms' root"),
      number("rope_theta", FIELD(model.shape.rope_theta)).above(0, 1e12).means(kYes, "base of the rotary angles"),
      number("initializer_range", FIELD(model.shape.initializer_range))
          .above(0, 1)
          .means(kYes, "standard deviation of the first weights"),
  };
}

// Shape keys read as unset while a folder provides the shape.
std::vector<Row> model_rows() {
  std::vector<Row> rows = {
      text("model_name_or_path", FIELD(model.model_name_or_path))
          .unset("null")
          .means(kYes, "folder of a Hugging Face model to start from; the shape keys below are then left out"),
  };
  for (Row& row : shape_rows()) {
    row.key.unset_word = "null";
    row.key.read = [read = row.key.read](const RunConfig& config) {
      return config.model.model_name_or_path.empty() ? read(config) : KeyValue{};
    };
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> dataset_rows() {
  return {
      texts("path", FIELD(dataset.path))
          .shown("must be given")
          .means(kYes, "training files: paths or globs (`**` and `{a,b}` too), relative to the current directory"),
      texts("eval_path", FIELD(dataset.eval_path)).means(kNo, "evaluation files; excludes `val_size`"),
      choice("format", FIELD(dataset.format))
          .choices({"auto", "text", "jsonl"})
          .means(kYes, "text: one document per file; jsonl: one per line; auto: by the file's ending"),
      choice("tokenizer", FIELD(dataset.tokenizer))
          .choices({"byte", "none"})
          .means(kYes, "byte: one token per byte; none: JSONL rows that hold `input_ids`"),
      whole("max_seq_len", FIELD(dataset.max_seq_len))
          .range(1, 1'048'576)
          .unit("tokens")
          .means(kYes, "length of a training row"),
      truth("packing", FIELD(dataset.packing))
          .means(kYes, "several documents share a row; attention and positions do not cross from one to the next"),
      number("val_size", FIELD(dataset.val_size))
          .range(0, kMostCount)
          .unit("documents")
          .means(kYes, "documents held out for evaluation: below 1 a share of them, else their number"),
  };
}

std::vector<Row> training_length_rows() {
  return {
      whole("per_device_train_batch_size", FIELD(training.per_device_train_batch_size))
          .range(1, 65536)
          .unit("rows")
          .means(kYes, "rows of a micro-batch"),
      whole("gradient_accumulation_steps", FIELD(training.gradient_accumulation_steps))
          .range(1, 65536)
          .unit("micro-batches")
          .means(kYes, "micro-batches per step; nearly free here, because weights cross the link once per step"),
      whole("tokens_per_step", FIELD(training.tokens_per_step))
          .range(1, kMostCount)
          .unset("null")
          .unit("tokens")
          .means(kYes, "instead of gradient_accumulation_steps; a multiple of the tokens of a micro-batch"),
      whole("max_steps", FIELD(training.max_steps))
          .range(1, kMostCount)
          .unset("null")
          .unit("steps")
          .means(kYes, "the run ends after so many steps"),
      number("num_train_epochs", FIELD(training.num_train_epochs))
          .above(0, 1e6)
          .unset("null")
          .shown("1 if `max_steps` and `max_tokens` are unset")
          .means(kYes, "the run ends after so many passes over the data"),
      whole("max_tokens", FIELD(training.max_tokens))
          .range(1, kMostCount)
          .unset("null")
          .unit("tokens")
          .means(kYes, "the run ends after so many tokens; of several limits the first that is reached counts"),
  };
}

std::vector<Row> training_rate_rows() {
  return {
      number("learning_rate", FIELD(training.learning_rate)).range(0, 1).means(kYes, "highest learning rate"),
      number("min_learning_rate", FIELD(training.min_learning_rate))
          .range(0, 1)
          .means(kYes, "learning rate at the end of linear, cosine and wsd"),
      choice("lr_scheduler_type", FIELD(training.lr_scheduler_type))
          .choices({"constant", "linear", "cosine", "wsd"})
          .means(kYes, "course of the learning rate after warm-up; wsd is flat, then falls linearly"),
      whole("warmup_steps", FIELD(training.warmup_steps))
          .range(0, kMostCount)
          .unset("auto")
          .unit("steps")
          .means(kYes, "steps of linear warm-up; auto: `warmup_ratio` of all steps"),
      number("warmup_ratio", FIELD(training.warmup_ratio))
          .range(0, 1)
          .means(kYes, "share of all steps that warms up, where warmup_steps is auto"),
      whole("decay_steps", FIELD(training.decay_steps))
          .range(0, kMostCount)
          .unset("auto")
          .unit("steps")
          .means(kYes, "wsd only: steps of the final fall; auto: a tenth of all steps"),
      number("weight_decay", FIELD(training.weight_decay))
          .range(0, 1)
          .means(kYes, "decoupled weight decay; norms do not decay"),
      number("max_grad_norm", FIELD(training.max_grad_norm))
          .range(0, 1e6)
          .means(kYes, "gradients are scaled down to this global norm; 0: no clipping"),
      whole("seed", FIELD(training.seed)).range(0, kMostSeed).means(kYes, "of the first weights and the data order"),
  };
}

std::vector<Row> training_saving_rows() {
  return {
      text("output_dir", FIELD(training.output_dir))
          .shown("runs/&lt;config&gt;-&lt;n&gt;")
          .means(kNo, "run directory; one that holds a run already is never overwritten silently"),
      truth("overwrite_output_dir", FIELD(training.overwrite_output_dir))
          .means(kNo, "replace the run that output_dir holds"),
      choice("save_strategy", FIELD(training.save_strategy))
          .choices({"no", "steps", "epoch"})
          .means(kNo, "when checkpoints are written; steps and epoch also write one at the end, no writes none"),
      whole("save_steps", FIELD(training.save_steps))
          .range(1, kMostCount)
          .unit("steps")
          .means(kNo, "distance of two checkpoints with `save_strategy: steps`"),
      whole("save_total_limit", FIELD(training.save_total_limit))
          .range(0, kMostCount)
          .means(kNo, "checkpoints that are kept, the newest ones; 0: all"),
      whole("eval_steps", FIELD(training.eval_steps))
          .range(0, kMostCount)
          .unit("steps")
          .means(kNo, "distance of two evaluations; 0: only at the end"),
      whole("max_eval_tokens", FIELD(training.max_eval_tokens))
          .range(0, kMostCount)
          .unit("tokens")
          .means(kNo, "an evaluation ends after so many tokens; 0: all"),
      text("resume_from_checkpoint", FIELD(training.resume_from_checkpoint))
          .means(kNo, "auto: the newest valid checkpoint of output_dir; or a path; empty: start afresh"),
  };
}

std::vector<Row> optimizer_rows() {
  return {
      choice("state_format", FIELD(optimizer.state_format))
          .choices({"exact", "float32"})
          .means(kYes, "exact: bf16 weights stream, the master is fp32-exact, 14 B per parameter; float32: 16 B"),
      choice("update", FIELD(optimizer.update))
          .choices({"deferred", "eager"})
          .means(kNo,
                 "deferred: under the next step's forward; eager: under backward, needs `max_grad_norm: 0`, and "
                 "a step that is aborted leaves the state mixed"),
      number("beta1", FIELD(optimizer.beta1)).below(0, 1).means(kYes, "decay of AdamW's first moment"),
      number("beta2", FIELD(optimizer.beta2)).below(0, 1).means(kYes, "decay of AdamW's second moment"),
      number("eps", FIELD(optimizer.eps)).above(0, 1).means(kYes, "AdamW's epsilon, outside the root"),
      whole("threads", FIELD(optimizer.threads))
          .range(1, 1024)
          .unset("auto")
          .means(kNo, "threads of the host lane; auto: one per CPU the process may use"),
  };
}

std::vector<Row> memory_rows() {
  return {
      whole("prefetch_depth", FIELD(memory.prefetch_depth))
          .range(1, 64)
          .unit("layers")
          .means(kNo, "layers fetched ahead of compute; the device holds one weight slot more than that"),
      whole("gradient_slots", FIELD(memory.gradient_slots))
          .range(1, 64)
          .unit("layers")
          .means(kNo, "layers whose fp32 gradients the device holds at a time"),
      choice("activations", FIELD(memory.activations))
          .choices({"keep", "recompute"})
          .means(kNo, "keep: intermediates stay on the device for backward; recompute: only each block's input does"),
      whole("keep_layers", FIELD(memory.keep_layers))
          .range(0, 65536)
          .unit("blocks")
          .means(kNo, "with `activations: recompute`, the first so many blocks keep theirs all the same"),
      number("host_memory_gb", FIELD(memory.host_memory_gb))
          .range(0, 1e6)
          .unit("GiB")
          .means(kNo, "most host memory the run may plan for; 0: what is free"),
  };
}

std::vector<Row> device_rows() {
  return {
      choice("backend", FIELD(device.backend))
          .choices({"auto", "host", "cuda"})
          .means(kRounding, "host: the emulated device on the CPU; cuda is refused by this version"),
      number("memory_gb", FIELD(device.memory_gb))
          .range(0, 1e6)
          .unit("GiB")
          .means(kNo, "device memory the run may use; 0: all"),
      choice("compute_dtype", FIELD(device.compute_dtype))
          .choices({"auto", "float32", "bfloat16"})
          .means(kYes, "type of the matrix products; auto: bfloat16 where the hardware has it, else float32"),
      whole("compute_threads", FIELD(device.compute_threads))
          .range(1, 1024)
          .unset("auto")
          .means(kYes, "LibTorch's threads on the host device; auto: one per CPU the process may use"),
      choice("compute", FIELD(device.compute))
          .choices({"real", "paced"})
          .means(kYes, "paced: modelled durations instead of the maths, to study overlap; nothing is learnt"),
      number("paced_tflops", FIELD(device.paced_tflops))
          .above(0, 1e6)
          .unit("TFLOP/s")
          .means(kNo, "rate of the modelled device with `compute: paced`"),
      number("h2d_gbps", FIELD(device.h2d_gbps))
          .range(0, 1e5)
          .unit("GB/s")
          .means(kNo, "emulated link, host to device; 0: as fast as memcpy"),
      number("d2h_gbps", FIELD(device.d2h_gbps))
          .range(0, 1e5)
          .unit("GB/s")
          .means(kNo, "emulated link, device to host; 0: as fast as memcpy"),
      number("latency_us", FIELD(device.latency_us))
          .range(0, 1e6)
          .unit("us")
          .means(kNo, "emulated link, added to every copy"),
  };
}

std::vector<Row> logging_rows() {
  return {
      whole("logging_steps", FIELD(logging.logging_steps))
          .range(1, kMostCount)
          .unit("steps")
          .means(kNo, "distance of two progress lines where standard error is no terminal"),
      choice("level", FIELD(logging.level))
          .choices({"debug", "info", "warning", "error"})
          .means(kNo, "least severe message that is shown"),
  };
}

std::vector<Row> generation_rows() {
  return {
      text("prompt", FIELD(generation.prompt)).means(kNo, "text that is continued"),
      whole("max_new_tokens", FIELD(generation.max_new_tokens))
          .range(0, 1'048'576)
          .unit("tokens")
          .means(kNo, "most tokens to generate; 0: no sample after training"),
      number("temperature", FIELD(generation.temperature))
          .above(0, 100)
          .means(kNo, "below 1 sharpens the distribution, above 1 flattens it"),
      whole("top_k", FIELD(generation.top_k))
          .range(0, kMostExtent)
          .means(kNo, "draw from the k likeliest tokens; 0: off"),
      number("top_p", FIELD(generation.top_p))
          .above(0, 1)
          .means(kNo, "draw from the likeliest tokens that hold this probability together; 1: off"),
      truth("greedy", FIELD(generation.greedy)).means(kNo, "always take the likeliest token"),
      whole("sample_seed", FIELD(generation.sample_seed)).range(0, kMostSeed).means(kNo, "of the drawn tokens"),
  };
}

#undef FIELD

void append(std::vector<ConfigKey>& keys, std::string_view section, std::vector<Row> rows) {
  for (Row& row : rows) {
    row.key.section = section;
    keys.push_back(std::move(row.key));
  }
}

}  // namespace

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> kKeys = [] {
    std::vector<ConfigKey> keys;
    append(keys, "model", model_rows());
    append(keys, "dataset", dataset_rows());
    append(keys, "training", training_length_rows());
    append(keys, "training", training_rate_rows());
    append(keys, "training", training_saving_rows());
    append(keys, "optimizer", optimizer_rows());
    append(keys, "memory", memory_rows());
    append(keys, "device", device_rows());
    append(keys, "logging", logging_rows());
    append(keys, "generation", generation_rows());
    return keys;
  }();
  return kKeys;
}

const std::vector<std::string>& config_sections() {
  static const std::vector<std::string> kSections = [] {
    std::vector<std::string> sections;
    for (const ConfigKey& key : config_keys()) {
      if (sections.empty() || sections.back() != key.section) sections.push_back(key.section);
    }
    return sections;
  }();
  return kSections;
}

}  // namespace penstock
