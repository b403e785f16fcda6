#include "app/model_setup.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "app/source_folder.h"
#include "app/tokenizer_choice.h"
#include "core/error.h"
#include "data/byte_tokenizer.h"
#include "model/hf_folder.h"

namespace penstock {
namespace {

// Of a new smollm3, as published: every fourth block has no positions.
constexpr int64_t kNoRopeInterval = 4;
// Blocks that freeze tuning trains unless told, as LLaMA-Factory does.
constexpr int64_t kTrainedByDefault = 2;

// A new model of the family that the keys name, with what the family fixes.
ModelConfig model_from_keys(const RunConfig& config) {
  ModelConfig model = config.model.shape;
  model.qkv_bias = model.model_type == "qwen2";
  model.qk_norm = model.model_type == "qwen3";
  if (model.model_type == "smollm3") {
    for (int64_t block = 0; block < model.num_hidden_layers; ++block) {
      model.rotary_blocks.push_back((block + 1) % kNoRopeInterval == 0 ? 0 : 1);
    }
  }
  if (config.dataset.tokenizer == Tokenizer::kByte) {
    model.bos_token_id = kByteBos;
    model.eos_token_ids = {kByteEos};
    model.pad_token_id = kBytePad;
  }
  return model;
}

// LLaMA-Factory's freeze tuning as patterns: the last blocks, or with a negative number the first.
TrainablePatterns trainable_patterns(const RunConfig& config, const ModelConfig& model) {
  const TrainingSection& training = config.training;
  if (training.finetuning_type == FinetuningType::kFull) return training.trainable;
  const int64_t wanted = training.freeze_trainable_layers.value_or(kTrainedByDefault);
  const int64_t blocks = model.num_hidden_layers;
  const int64_t count = std::abs(wanted);
  if (count > blocks) {
    throw Error(ExitCode::kBadInput, fmt::format("training.freeze_trainable_layers: {} is more than the model's {} "
                                                 "blocks; give {} or less",
                                                 wanted, blocks, blocks));
  }
  TrainablePatterns patterns;
  for (int64_t i = 0; i < count; ++i) {
    patterns.push_back(fmt::format("model.layers.{}.*", wanted < 0 ? i : blocks - count + i));
  }
  return patterns;
}

}  // namespace

void set_up_model(RunSetup& setup) {
  const RunConfig& config = setup.config;
  if (config.model.model_name_or_path.empty()) {
    setup.config.dataset.tokenizer = choose_tokenizer(config, "", setup.model);
    setup.model = model_from_keys(config);
  } else {
    setup.model_folder = find_model_folder(config);
    setup.model = load_model_config(setup.model_folder);
    setup.config.dataset.tokenizer = choose_tokenizer(config, setup.model_folder, setup.model);
  }
  validate(setup.model);
  setup.trainable = trainable_patterns(config, setup.model);
  require_trainable(setup.model, setup.trainable);
}

void require_row_positions(const RunSetup& setup) {
  const ModelConfig& model = setup.model;
  const int64_t length = setup.config.dataset.max_seq_len, positions = model.max_position_embeddings;
  if (length <= positions) return;
  if (model.rope_scaling.type == RopeType::kDynamic) {
    throw Error(ExitCode::kBadInput,
                fmt::format("dataset.max_seq_len: {} is more than the model's max_position_embeddings {}, where its "
                            "dynamic rope scaling would depend on the length; set {} or less",
                            length, positions, positions));
  }
  spdlog::warn(
      "dataset.max_seq_len {} is more than the model's max_position_embeddings {}: positions beyond it are new "
      "to the model",
      length, positions);
}

ParameterCounts parameter_counts(const RunSetup& setup) {
  ParameterCounts counts;
  for (const LayerLayout& layout : layer_layouts(setup.model, setup.trainable)) {
    for (const TensorPlace& place : layout.tensors()) {
      counts.all += place.element_count;
      counts.trained += place.spec.trainable ? place.element_count : 0;
    }
  }
  return counts;
}

bool starts_from_scratch(const RunSetup& setup) {
  return setup.model_folder.empty() || setup.config.model.train_from_scratch;
}

}  // namespace penstock
