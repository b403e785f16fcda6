// What a bad configuration is told: every fault in one pass, each with its place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/config_file.h"
#include "app/config_file_syntax.h"
#include "config_texts.h"

namespace penstock {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

TEST(ConfigErrors, AllFaultsOfAFileInOnePassInFileOrder) {
  const std::string text =
      "model:\n"
      "  hiden_size: 64\n"
      "  hidden_size: 64\n"
      "  intermediate_size: 96.5\n"
      "  num_hidden_layers: 0\n"
      "  num_attention_heads: 4\n"
      "trainning:\n"
      "  learning_rate: .nan\n"
      "  seed: 1\n"
      "dataset:\n"
      "  path: a.txt\n"
      "  packing: maybe\n"
      "  path: b.txt\n"
      "optimizer:\n"
      "  state_format: exakt\n"
      "  eps: [1, 2]\n";
  EXPECT_THAT(
      errors_of(text, {"max_seq_len=0", "nonsense"}),
      ElementsAre(
          "x.yaml:2: unknown key 'model.hiden_size'; the nearest key is model.hidden_size",
          "x.yaml:4: model.intermediate_size: '96.5' is not a whole number; allowed: a whole number, 1 .. 16777216, or "
          "null",
          "x.yaml:5: model.num_hidden_layers: '0' is out of range; allowed: a whole number, 1 .. 65536, or null",
          "x.yaml:7: unknown section 'trainning'; the nearest section is training",
          "x.yaml:8: training.learning_rate: '.nan' is not finite; allowed: a number, 0 .. 1",
          "x.yaml:12: dataset.packing: 'maybe' is neither true nor false; allowed: true or false",
          "x.yaml:13: dataset.path is set twice (first at line 11)",
          "x.yaml:15: optimizer.state_format: 'exakt' is not one of the choices; allowed: exact | float32 | compact | "
          "compact8",
          "x.yaml:16: optimizer.eps: a list is not one value; allowed: a number, above 0, up to 1",
          "command line: dataset.max_seq_len: '0' is out of range; allowed: a whole number, 1 .. 1048576",
          "command line: 'nonsense' has no value; write section.key=value"));
}

TEST(ConfigErrors, AreBadInput) {
  try {
    load_text("a: 1\n");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
  }
}

TEST(ConfigErrors, DuplicatesInEveryDisguise) {
  EXPECT_THAT(errors_of(kMinimalConfig + "  seed: 2\n"),
              ElementsAre("x.yaml:10: training.seed is set twice (first at line 9)"));
  EXPECT_THAT(errors_of(kMinimalConfig + "seed: 2\n"),
              ElementsAre("x.yaml:10: training.seed is set twice (first at line 9)"));
  EXPECT_THAT(errors_of(kMinimalConfig + "  random_seed: 2\n"),
              ElementsAre("x.yaml:10: training.seed is set twice (first at line 9)"));
  EXPECT_THAT(errors_of(kMinimalConfig + "training:\n  max_steps: 2\n"),
              ElementsAre("x.yaml:10: section 'training' is given twice (first at line 8)"));
}

TEST(ConfigErrors, WrongTypes) {
  const auto error = [](const std::string& line) { return errors_of(kMinimalConfig + "  " + line + "\n"); };
  EXPECT_THAT(error("learning_rate: fast"), ElementsAre(HasSubstr(":10: training.learning_rate: 'fast' is not a num")));
  EXPECT_THAT(error("learning_rate: '1e-5'"), ElementsAre(HasSubstr("is not a number")));
  EXPECT_THAT(error("learning_rate: 1e-5x"), ElementsAre(HasSubstr("is not a number")));
  EXPECT_THAT(error("learning_rate: 0x1"), ElementsAre(HasSubstr("is not a number")));
  EXPECT_THAT(error("learning_rate: +-1"), ElementsAre(HasSubstr("is not a number")));
  EXPECT_THAT(error("learning_rate:"), ElementsAre(HasSubstr("no value is given")));
  EXPECT_THAT(error("learning_rate: auto"), ElementsAre(HasSubstr("is not a number")));
  EXPECT_THAT(error("max_steps: 1e3"), ElementsAre(HasSubstr("is not a whole number")));
  EXPECT_THAT(error("max_steps: 3_000"), ElementsAre(HasSubstr("is not a whole number")));
  EXPECT_THAT(error("max_steps: auto"), ElementsAre(HasSubstr("or null")));
  EXPECT_THAT(error("max_steps: 99999999999999999999"), ElementsAre(HasSubstr("is out of range")));
  EXPECT_THAT(error("overwrite_output_dir: 1"), ElementsAre(HasSubstr("is neither true nor false")));
  EXPECT_THAT(error("output_dir: [a]"), ElementsAre(HasSubstr("a list is not one value")));
  EXPECT_THAT(errors_of(kMinimalConfig + "training.output_dir:\n  a: b\n"),
              Contains(StartsWith("x.yaml:10: unknown section 'training.output_dir'")));
}

TEST(ConfigErrors, UnknownNames) {
  EXPECT_THAT(errors_of(kMinimalConfig, {"lerning_rate=1"}),
              ElementsAre("command line: unknown key 'lerning_rate'; the nearest key is training.learning_rate"));
  EXPECT_THAT(errors_of(kMinimalConfig, {"trainin.seed=1"}),
              ElementsAre("command line: unknown key 'trainin.seed'; the nearest key is training.seed"));
  EXPECT_THAT(errors_of(kMinimalConfig + "xyzzy_quux: 1\n"),
              ElementsAre("x.yaml:10: unknown key 'xyzzy_quux'; `docs/configuration.md` lists all keys"));
  EXPECT_THAT(errors_of(kMinimalConfig + "xyzzy_quux:\n  seed: 2\n"),
              ElementsAre(StartsWith("x.yaml:10: unknown section 'xyzzy_quux'; the sections are: model, dataset"),
                          "x.yaml:11: training.seed is set twice (first at line 9)"));
  EXPECT_THAT(errors_of(kMinimalConfig + "memory: 3\n"),
              ElementsAre("x.yaml:10: memory is a section; its keys go below it"));
}

TEST(ConfigErrors, YamlFeaturesThatAreRefused) {
  const auto error = [](const std::string& lines) { return errors_of(kMinimalConfig + lines); };
  EXPECT_THAT(error("  max_steps: &n 5\n"), ElementsAre(StartsWith("x.yaml:10: YAML anchors")));
  EXPECT_THAT(error("  max_steps: &n 5\n  save_steps: *n\n"),
              ElementsAre(StartsWith("x.yaml:10: YAML anchors"), StartsWith("x.yaml:11: YAML aliases")));
  EXPECT_THAT(error("  max_steps: !!int 5\n"), ElementsAre("x.yaml:10: YAML tags are not allowed "
                                                           "(tag:yaml.org,2002:int)"));
  EXPECT_THAT(error("  output_dir: !mine x\n"), ElementsAre(StartsWith("x.yaml:10: YAML tags")));
  EXPECT_THAT(error("memory: &m\n  prefetch_depth: 2\n"), ElementsAre(StartsWith("x.yaml:10: YAML anchors")));
  EXPECT_THAT(error("memory: !m {prefetch_depth: 2}\n"), ElementsAre(StartsWith("x.yaml:10: YAML tags")));
  EXPECT_THAT(error("---\nseed: 3\n"), ElementsAre(StartsWith("x.yaml:10: a second document")));
  EXPECT_THAT(error("memory:\n  activations:\n    a: b\n"), ElementsAre(StartsWith("x.yaml:12: nested too deeply")));
  EXPECT_THAT(error("eval_path: [[a], b]\n"), ElementsAre(StartsWith("x.yaml:10: nested too deeply")));
  EXPECT_THAT(error("? [a, b]\n: c\n"), ElementsAre(StartsWith("x.yaml:10: nested too deeply")));
  EXPECT_THAT(error("  <<: {max_steps: 3}\n"), ElementsAre(StartsWith("x.yaml:10: nested too deeply")));
}

TEST(ConfigErrors, BrokenYamlIsOneLineWithoutGuessesAboutTheRest) {
  EXPECT_THAT(errors_of("model:\n  hidden_size: [1\ndataset:\n"), ElementsAre(StartsWith("x.yaml:3: not YAML: ")));
  EXPECT_THAT(errors_of("model:\n\thidden_size: 1\n"), ElementsAre(StartsWith("x.yaml:2: not YAML: ")));
  EXPECT_THAT(errors_of("a: *unknown\n"), ElementsAre(StartsWith("x.yaml:1: not YAML: ")));
  EXPECT_THAT(errors_of(std::string("seed: 1\nlevel: \0\n", 18)), ElementsAre(StartsWith("x.yaml:2: holds a zero")));
  EXPECT_THAT(errors_of(std::string(60000, '[')), Contains(StartsWith("x.yaml:1: not YAML: ")));
  EXPECT_THAT(errors_of("- a\n- b\n"), Contains(StartsWith("x.yaml:1: not a configuration")));
  EXPECT_THAT(errors_of(","), Contains(StartsWith("x.yaml:1: a second document, or text that is no YAML")));
  EXPECT_THAT(errors_of("just words\n"), Contains(StartsWith("x.yaml:1: not a configuration")));
}

TEST(ConfigErrors, SizeLimit) {
  const std::string padding(kLargestConfigBytes - kMinimalConfig.size() - 2, '#');
  EXPECT_THAT(errors_of(kMinimalConfig + padding + "#\n"), IsEmpty());
  EXPECT_THAT(errors_of(kMinimalConfig + padding + "##\n"), ElementsAre(StartsWith("x.yaml:1: more than 64 KiB")));
}

TEST(ConfigErrors, AnEmptyFileNamesWhatIsMissing) {
  for (const char* text : {"", "# nothing\n", "---\n", "{}\n"}) {
    EXPECT_THAT(errors_of(text),
                ElementsAre("x.yaml: the model's shape is incomplete, missing: model.hidden_size, "
                            "model.intermediate_size, model.num_hidden_layers, model.num_attention_heads; or give "
                            "model.model_name_or_path",
                            "x.yaml: dataset.path: missing; give a path or a glob"))
        << text;
  }
  EXPECT_THAT(errors_of(kMinimalConfig, {"tokenizer=none"}),
              ElementsAre(HasSubstr("missing: model.vocab_size; or give")));
  EXPECT_THAT(errors_of(kMinimalConfig, {"path=[]"}), ElementsAre("command line: dataset.path: missing; give a path "
                                                                  "or a glob"));
  EXPECT_THAT(errors_of(kMinimalConfig, {"eval_path=[a, '']"}), ElementsAre(HasSubstr("an empty text is no path")));
  EXPECT_THAT(errors_of(kMinimalConfig, {"eval_path=[a"}), ElementsAre(HasSubstr("is not a YAML list")));
}

struct Contradiction {
  std::vector<std::string> overrides;
  std::string error;  // after "command line: "
  std::vector<std::string> remedy;
};

TEST(ConfigErrors, ContradictionsBetweenKeys) {
  const std::vector<Contradiction> cases = {
      {{"update=eager"},
       "optimizer.update: eager cannot clip; set training.max_grad_norm: 0 (it is 1), or use deferred",
       {"max_grad_norm=0"}},
      {{"warmup_steps=11", "max_steps=10"},
       "training.warmup_steps: 11 is more than training.max_steps (10)",
       {"max_steps=11"}},
      {{"warmup_steps=6", "max_steps=10", "lr_scheduler_type=wsd", "decay_steps=5"},
       "training.decay_steps: 5 and training.warmup_steps (6) are more than training.max_steps (10)",
       {"decay_steps=4"}},
      {{"decay_steps=5"}, "training.decay_steps: only lr_scheduler_type: wsd has decay steps", {"scheduler=wsd"}},
      {{"min_lr=0.5", "lr=0.25"}, "training.min_learning_rate: 0.5 is above training.learning_rate (0.25)", {"lr=0.5"}},
      {{"vocab_size=258"},
       "model.vocab_size: 258 is too small for tokenizer: byte; give 259 or more",
       {"tokenizer=none"}},
      {{"max_position_embeddings=1023"},
       "model.max_position_embeddings: 1023 is less than dataset.max_seq_len (1024)",
       {"max_seq_len=1023"}},
      {{"model_name_or_path=m", "hidden_size=64"},
       "model.hidden_size: excluded by model.model_name_or_path, whose config.json holds the shape; leave one of them "
       "out",
       {"hidden_size=null"}},
      {{"tokenizer=none", "vocab_size=9", "format=text"},
       "dataset.tokenizer: none needs JSONL rows with input_ids, but dataset.format is text",
       {"format=jsonl"}},
      {{"eval_path=e", "val_size=0.5"},
       "dataset.val_size: excluded by dataset.eval_path; leave one of them out",
       {"eval_path=[]"}},
      {{"val_size=1.5"},
       "dataset.val_size: 1.5 is neither a share below 1 nor a whole number of documents",
       {"val_size=2"}},
      {{"eval_steps=5"},
       "training.eval_steps: there is nothing to evaluate on; give dataset.val_size or dataset.eval_path",
       {"val_size=0.1"}},
      {{"tokens_per_step=2048", "gradient_accumulation_steps=2"},
       "training.tokens_per_step: excluded by training.gradient_accumulation_steps; leave one of them out",
       {"tokens_per_step=null"}},
      {{"tokens_per_step=1500"},
       "training.tokens_per_step: 1500 is not a multiple of the micro-batch's 1024 tokens "
       "(per_device_train_batch_size x max_seq_len); nearest: 1024 or 2048",
       {"max_seq_len=500"}},
      {{"tokens_per_step=500"},
       "training.tokens_per_step: 500 is not a multiple of the micro-batch's 1024 tokens "
       "(per_device_train_batch_size x max_seq_len); nearest: 1024",
       {"tokens_per_step=1024"}},
      {{"tokens_per_step=67109888"},
       "training.tokens_per_step: 67109888 needs 65537 micro-batches per step, more than 65536",
       {"tokens_per_step=67108864"}},
      {{"keep_layers=1"},
       "memory.keep_layers: only memory.activations: recompute has blocks that keep theirs all the same",
       {"activations=recompute"}},
      {{"keep_layers=5", "activations=recompute"},
       "memory.keep_layers: 5 is more than model.num_hidden_layers (4)",
       {"keep_layers=4"}},
  };
  for (const Contradiction& one : cases) {
    EXPECT_THAT(errors_of(kMinimalConfig, one.overrides), ElementsAre("command line: " + one.error));
    std::vector<std::string> remedied = one.overrides;
    remedied.insert(remedied.end(), one.remedy.begin(), one.remedy.end());
    EXPECT_THAT(errors_of(kMinimalConfig, remedied), IsEmpty()) << one.error;
  }
}

TEST(ConfigErrors, AContradictionNamesTheLineOfTheFile) {
  EXPECT_THAT(errors_of(kMinimalConfig + "optimizer:\n  update: eager\n"),
              ElementsAre(StartsWith("x.yaml:11: optimizer.update: eager cannot clip")));
}

TEST(ConfigErrors, AValueThatCannotBeReadCausesNoSecondError) {
  EXPECT_THAT(errors_of(kMinimalConfig, {"update=eager", "max_grad_norm=none"}), SizeIs(1));
  EXPECT_THAT(errors_of(kMinimalConfig, {"hidden_size=wide"}), SizeIs(1));
  EXPECT_THAT(errors_of(kMinimalConfig, {"tokens_per_step=1500", "max_seq_len=0"}), SizeIs(1));
}

TEST(ConfigErrors, TokensPerStepStayBelow32Bits) {
  const std::vector<std::string> most = {"max_seq_len=32767", "per_device_train_batch_size=65536"};
  EXPECT_THAT(errors_of(kMinimalConfig, most), IsEmpty());
  std::vector<std::string> more = most;
  more.push_back("gradient_accumulation_steps=2");
  EXPECT_THAT(
      errors_of(kMinimalConfig, more),
      ElementsAre(StartsWith("command line: training.gradient_accumulation_steps: 2 micro-batches x 65536 rows")));
  more = most;
  more.push_back("tokens_per_step=4294836224");  // two micro-batches
  EXPECT_THAT(errors_of(kMinimalConfig, more),
              ElementsAre(StartsWith("command line: training.tokens_per_step: 2 mic")));
}

TEST(ConfigErrors, DataMayBeMissingWhereNothingReadsIt) {
  const std::string text = "model_name_or_path: folder\n";
  EXPECT_THAT(errors_of(text), ElementsAre("x.yaml: dataset.path: missing; give a path or a glob"));
  const RunConfig config = parse_run_config(
      text, "x.yaml", {}, [](const std::string&) {}, DataNeed::kOptional);
  EXPECT_EQ(config.model.model_name_or_path, "folder");
}

TEST(ConfigErrors, EmulationBelongsToTheHostDevice) {
  EXPECT_THAT(errors_of(kMinimalConfig + "device:\n  backend: cuda\n  h2d_gbps: 20\n  compute: paced\n"),
              ElementsAre("x.yaml:12: device.h2d_gbps: emulates a device, and device.backend is cuda; remove it or use "
                          "device.backend: host",
                          "x.yaml:13: device.compute: emulates a device, and device.backend is cuda; remove it or use "
                          "device.backend: host"));
  EXPECT_EQ(load_text(kMinimalConfig + "device:\n  backend: cuda\n").device.backend, BackendChoice::kCuda);
}

}  // namespace
}  // namespace penstock
