#include "app/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "app/config_aliases.h"
#include "app/config_keys.h"
#include "config_texts.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ConfigFile, MinimalFileGetsDefaultsAndWhatFollows) {
  const RunConfig config = load_text(kMinimalConfig);
  EXPECT_EQ(config.model.shape.hidden_size, 64);
  EXPECT_EQ(config.model.shape.vocab_size, 259);
  EXPECT_EQ(config.model.shape.num_key_value_heads, 4);
  EXPECT_EQ(config.model.shape.head_dim, 16);
  EXPECT_EQ(config.model.shape.max_position_embeddings, 2048);
  EXPECT_THAT(config.dataset.path, ElementsAre("a.txt"));
  EXPECT_EQ(config.training.seed, 1);
  EXPECT_EQ(config.training.max_grad_norm, 1.0);
  EXPECT_EQ(config.training.num_train_epochs, 1.0);
  EXPECT_EQ(config.training.max_steps, std::nullopt);
  EXPECT_EQ(config.training.warmup_steps, std::nullopt);
  EXPECT_EQ(config.training.warmup_ratio, 0.03);
  EXPECT_EQ(config.optimizer.beta2, 0.95);
  EXPECT_EQ(config.optimizer.threads, std::nullopt);
  EXPECT_EQ(config.memory.numa, std::nullopt);
  EXPECT_TRUE(config.memory.huge_pages);
  EXPECT_EQ(config.optimizer.state_format, StateFormat::kExact);
  EXPECT_TRUE(config.dataset.packing);
}

TEST(ConfigFile, PositionsGrowWithTheRows) {
  EXPECT_EQ(load_text(kMinimalConfig, {"max_seq_len=4096"}).model.shape.max_position_embeddings, 4096);
}

TEST(ConfigFile, IndivisibleHeadDimStaysOpenForTheModelsOwnCheck) {
  EXPECT_EQ(load_text(kMinimalConfig, {"hidden_size=66"}).model.shape.head_dim, 0);
}

TEST(ConfigFile, FlatAndDottedKeysEqualSections) {
  const std::string flat =
      "hidden_size: 64\nintermediate_size: 96\nnum_hidden_layers: 4\nmodel.num_attention_heads: 4\n"
      "path: [a.txt]\ntraining.seed: 1\n";
  const Loaded loaded = load_with_warnings(flat);
  EXPECT_TRUE(loaded.config == load_text(kMinimalConfig));
  EXPECT_THAT(loaded.warnings, IsEmpty());
}

TEST(ConfigFile, ScalarFormsOfYaml) {
  const RunConfig config = load_text(kMinimalConfig +
                                     "  learning_rate: 1e-5\n"
                                     "  weight_decay: +.5\n"
                                     "  max_grad_norm: 2\n"
                                     "  max_steps: +20\n"
                                     "  warmup_steps: auto\n"
                                     "  max_tokens: null\n"
                                     "  output_dir: 'a b'\n"
                                     "  save_strategy: no\n"
                                     "  resume_from_checkpoint:\n"
                                     "packing: No\n"
                                     "memory:\n");
  EXPECT_EQ(config.training.learning_rate, 1e-5);
  EXPECT_EQ(config.training.weight_decay, 0.5);
  EXPECT_EQ(config.training.max_grad_norm, 2.0);
  EXPECT_EQ(config.training.max_steps, 20);
  EXPECT_EQ(config.training.num_train_epochs, std::nullopt);
  EXPECT_EQ(config.training.warmup_steps, std::nullopt);
  EXPECT_EQ(config.training.output_dir, "a b");
  EXPECT_EQ(config.training.save_strategy, SaveStrategy::kNo);
  EXPECT_EQ(config.training.resume_from_checkpoint, "");
  EXPECT_FALSE(config.dataset.packing);
}

TEST(ConfigFile, OverridesInEverySpelling) {
  for (const std::vector<std::string>& overrides : std::vector<std::vector<std::string>>{
           {"training.learning_rate=1e-5"},
           {"learning_rate=1e-5"},
           {"--learning_rate=1e-5"},
           {"--learning_rate", "1e-5"},
           {"--learning-rate", "1e-5"},
           {"--training.learning-rate", "1e-5"},
           {"learning_rate=0.5", "lr=1e-5"},  // the last one wins
       }) {
    EXPECT_EQ(load_text(kMinimalConfig, overrides).training.learning_rate, 1e-5) << overrides[0];
  }
  EXPECT_EQ(load_text(kMinimalConfig, {"seed=7"}).training.seed, 7);
}

TEST(ConfigFile, OverriddenTextsAreTakenAsTheyStand) {
  const RunConfig config = load_text(kMinimalConfig, {"path={a,b}/**/*.py", "prompt=def f(x): # = y"});
  EXPECT_THAT(config.dataset.path, ElementsAre("{a,b}/**/*.py"));
  EXPECT_EQ(config.generation.prompt, "def f(x): # = y");
  EXPECT_THAT(load_text(kMinimalConfig, {"path=[\"a,b\", c]"}).dataset.path, ElementsAre("a,b", "c"));
}

TEST(ConfigFile, EveryAliasIsReadWithOneWarning) {
  for (const ConfigAlias& alias : config_aliases()) {
    SCOPED_TRACE(alias.name);
    const ConfigKey& key = config_key(alias.full_name);
    if (key.name == "model_name_or_path") continue;  // excludes the shape; see below
    std::string value = key.type == KeyType::kText || key.type == KeyType::kTextList ? "some/path" : "1";
    if (key.type == KeyType::kChoice) value = key.choices.back();
    if (key.type == KeyType::kBool) value = "false";
    if (key.name == "min_learning_rate") value = "1e-5";
    if (key.name == "beta1" || key.name == "beta2") value = "0.5";
    const std::string own = key.full_name() + "=" + value;
    std::vector<std::string> ours = {own};
    std::vector<std::string> theirs = {std::string(alias.name) + "=" + value};
    for (auto* overrides : {&ours, &theirs}) {
      overrides->insert(overrides->end(), {"vocab_size=259", "eval_path=e.txt", "tokenizer=none"});
    }
    if (key.name == "eval_path" || key.name == "val_size") ours[2] = theirs[2] = "format=auto";
    const Loaded loaded = load_with_warnings(kMinimalConfig, theirs);
    EXPECT_TRUE(loaded.config == load_text(kMinimalConfig, ours));
    EXPECT_THAT(loaded.warnings,
                ElementsAre("command line: " + std::string(alias.name) + " is read as " + key.full_name()));
  }
}

TEST(ConfigFile, AnAliasWarnsOnceAndNamesItsLine) {
  const Loaded loaded = load_with_warnings(kMinimalConfig + "  lr: 0.5\n", {"training.lr=0.25"});
  EXPECT_EQ(loaded.config.training.learning_rate, 0.25);
  EXPECT_THAT(loaded.warnings, ElementsAre("x.yaml:10: training.lr is read as training.learning_rate"));
}

TEST(ConfigFile, AKeyInTheWrongSectionIsReadWithAWarning) {
  const Loaded loaded = load_with_warnings(kMinimalConfig + "optimizer:\n  weight_decay: 0.25\n");
  EXPECT_EQ(loaded.config.training.weight_decay, 0.25);
  EXPECT_THAT(loaded.warnings, ElementsAre("x.yaml:11: optimizer.weight_decay is read as training.weight_decay"));
}

TEST(ConfigFile, AFolderReplacesTheShape) {
  const RunConfig config = load_text("model:\n  name: some/folder\ndataset:\n  path: a.txt\n");
  EXPECT_EQ(config.model.model_name_or_path, "some/folder");
  EXPECT_TRUE(config.model.shape == ModelConfig{});
  const RunConfig overridden = load_text(kMinimalConfig, {"model_name_or_path=some/folder"});
  EXPECT_TRUE(overridden.model.shape == ModelConfig{});
}

TEST(ConfigFile, TokensPerStepBecomeMicroBatches) {
  const RunConfig config =
      load_text(kMinimalConfig + "  tokens_per_step: 4096\n", {"max_seq_len=512", "per_device_train_batch_size=2"});
  EXPECT_EQ(config.training.gradient_accumulation_steps, 4);
  EXPECT_EQ(config.training.tokens_per_step, std::nullopt);
}

TEST(ConfigFile, TheCommandLineWinsBetweenKeysThatExcludeEachOther) {
  const std::string file = kMinimalConfig + "  gradient_accumulation_steps: 3\nval_size: 0.5\n";
  const RunConfig config = load_text(file, {"tokens_per_step=2048", "eval_path=b.txt"});
  EXPECT_EQ(config.training.gradient_accumulation_steps, 2);
  EXPECT_EQ(config.dataset.val_size, 0);
  EXPECT_THAT(config.dataset.eval_path, ElementsAre("b.txt"));
}

TEST(ConfigFile, DumpLoadsAgainEqual) {
  const std::vector<std::vector<std::string>> runs = {
      {},
      {"max_steps=10", "warmup_steps=3", "lr_scheduler_type=wsd", "decay_steps=2"},
      {"path=[\"a, b\", \"c: #\\\"\\\\ \"]", "prompt=line\none\ttwo \x01 \"ü\"", "output_dir=~", "val_size=0.1"},
      {"tokens_per_step=8192", "optimizer.threads=3", "numa=1", "huge_pages=false", "compute_threads=2",
       "learning_rate=0.1234567890123456789"},
      {"update=eager", "max_grad_norm=0", "state_format=float32", "activations=recompute", "keep_layers=2"},
      {"tokenizer=none", "vocab_size=100", "format=jsonl", "head_dim=8", "num_key_value_heads=2", "rope_theta=5e5"},
      {"model_name_or_path=null", "max_tokens=1000000000000000", "eps=1e-300", "packing=off", "hidden_size=66"},
      {"model_name_or_path=m", "compute=paced", "level=debug", "save_strategy=no"},
  };
  for (const std::vector<std::string>& overrides : runs) {
    const RunConfig config = load_text(kMinimalConfig, overrides);
    const std::string dumped = dump_run_config(config);
    const Loaded again = load_with_warnings(dumped);
    EXPECT_TRUE(again.config == config) << dumped;
    EXPECT_THAT(again.warnings, IsEmpty());
    EXPECT_EQ(dump_run_config(again.config), dumped);
  }
}

TEST(ConfigFile, DumpHoldsEveryKeyOnce) {
  const std::string dumped = dump_run_config(load_text(kMinimalConfig));
  for (const ConfigKey& key : config_keys()) {
    const std::string start = "\n  " + key.name + ": ";
    const size_t first = dumped.find(start);
    EXPECT_NE(first, std::string::npos) << key.full_name();
    EXPECT_EQ(dumped.find(start, first + 1), std::string::npos) << key.full_name();
  }
}

TEST(ConfigFile, TheQuickstartConfigurationLoadsWithoutWarnings) {
  std::vector<std::string> warnings;
  const std::filesystem::path path = std::string(PENSTOCK_TEST_DATA) + "/../configs/quickstart.yaml";
  const RunConfig config = load_run_config(path, {}, [&](const std::string& warning) { warnings.push_back(warning); });
  EXPECT_THAT(warnings, IsEmpty());
  const int64_t parameters = parameter_count(config.model.shape);
  EXPECT_GE(parameters, 8'000'000);
  EXPECT_LE(parameters, 15'000'000);
  EXPECT_GT(config.dataset.val_size, 0);
}

TEST(ConfigFile, AFileThatCannotBeReadIsOneLine) {
  for (const char* path : {"/nowhere/x.yaml", "/"}) {
    try {
      load_run_config(path, {}, [](const std::string&) {});
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_EQ(std::string(error.what()),
                std::string(path) + ": cannot be read; give the path of a configuration file");
    }
  }
}

}  // namespace
}  // namespace penstock
