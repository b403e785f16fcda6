// The rows of the key table. Leaf names are Hugging Face's and LLaMA-Factory's wherever they have one.
#include <utility>

#include "app/config_keys_row.h"

namespace penstock {

namespace {

#define FIELD(path) PENSTOCK_CONFIG_FIELD(path)

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
          .choices({"auto", "byte", "model", "none"})
          .means(kYes,
                 "byte: one token per byte; model: tokenizer.json of the model's folder; none: JSONL rows that hold "
                 "`input_ids`; auto: byte for a shape, the folder's own for a folder, none where it has none"),
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

std::vector<Row> optimizer_rows() {
  return {
      choice("state_format", FIELD(optimizer.state_format))
          .choices({"exact", "float32", "compact", "compact8"})
          .means(
              kYes,
              "exact: bf16 weights stream, the master is fp32-exact, 14 B per parameter; float32: 16 B; compact: bf16 "
              "master (rounded stochastically) and moments, 8 B; compact8: the same with 8-bit moments, 6.1 B"),
      choice("update", FIELD(optimizer.update))
          .choices({"deferred", "eager"})
          .means(kNo,
                 "deferred: under the next step's forward; eager: under backward, needs `max_grad_norm: 0`, and "
                 "a step that is aborted leaves the state mixed"),
      number("beta1", FIELD(optimizer.beta1)).below(0, 1).means(kYes, "decay of AdamW's first moment"),
      number("beta2", FIELD(optimizer.beta2))
          .below(0, 1)
          .shown("0.95; 0.999 when fine-tuning")
          .means(kYes, "decay of AdamW's second moment"),
      number("eps", FIELD(optimizer.eps)).above(0, 1).means(kYes, "AdamW's epsilon, outside the root"),
      whole("threads", FIELD(optimizer.threads))
          .range(1, 1024)
          .unset("auto")
          .means(kNo,
                 "threads of the host lane; auto: as many as saturate memory where `penstock probe` has measured it, "
                 "else one "
                 "per physical core; with a card, one core of more than two stays free"),
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
      whole("head_parts", FIELD(memory.head_parts))
          .range(1, 4096)
          .unset("auto")
          .means(kRounding,
                 "the head streams in so many parts of its vocabulary, for a head too large for the device; auto: "
                 "1 if it fits, else the fewest that do"),
      choice("pin", FIELD(memory.pin))
          .choices({"auto", "all", "transfers", "staged"})
          .means(
              kNo,
              "on cuda, host memory that is page-locked. all: everything; transfers: what crosses the link; staged: a "
              "small ring, through which copy threads move the rest; auto: all, or staged where the system refuses"),
      whole("numa", FIELD(memory.numa))
          .range(0, 4095)
          .unset("auto")
          .means(kNo,
                 "NUMA node, as numactl counts, of the host memory and of the threads that update it; auto: the card's "
                 "where there are several, else wherever the threads are"),
      truth("huge_pages", FIELD(memory.huge_pages))
          .means(kNo, "ask for 2 MiB pages: host memory is ready sooner and updates walk it faster"),
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
          .means(kRounding,
                 "cuda: an NVIDIA card; host: the emulated device on the CPU; auto: the card where one can be used"),
      whole("index", FIELD(device.index))
          .range(0, 255)
          .means(kNo, "which card, as CUDA counts those that CUDA_VISIBLE_DEVICES leaves"),
      number("memory_gb", FIELD(device.memory_gb))
          .range(0, 1e6)
          .unit("GiB")
          .means(kNo, "device memory the run may use, to leave some to others or to try a smaller card; 0: all"),
      truth("deterministic", FIELD(device.deterministic))
          .means(kRounding,
                 "on cuda: attention's backward sums in a fixed order, so that a run repeats bit for bit; slower. The "
                 "host device always does"),
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
    append(keys, "training", training_rows());
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
