#include "app/sample_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/tokenizer_choice.h"
#include "core/check.h"
#include "core/error.h"
#include "data/byte_tokenizer.h"
#include "data/text_helper.h"
#include "data/utf8.h"

namespace penstock {
namespace {

std::vector<int32_t> model_stop_tokens(const ModelConfig& model) {
  return {model.eos_token_ids.begin(), model.eos_token_ids.end()};
}

// What stands in front of a text where the tokenizer adds nothing: its BOS, or the EOS that ends the text before.
int32_t first_token(const TokenizerFacts& facts, const ModelConfig& model) {
  if (facts.bos) return *facts.bos;
  if (model.bos_token_id >= 0) return static_cast<int32_t>(model.bos_token_id);
  if (facts.eos) return *facts.eos;
  if (!model.eos_token_ids.empty()) return static_cast<int32_t>(model.eos_token_ids.front());
  throw Error(ExitCode::kBadInput,
              "generation.prompt is empty, and the model names no BOS or EOS to begin with; give "
              "a prompt, or generation.max_new_tokens: 0 for no sample");
}

void require_vocabulary(const RunSetup& setup, const std::vector<int32_t>& tokens) {
  for (const int32_t id : tokens) {
    if (id < setup.model.vocab_size) continue;
    throw Error(ExitCode::kBadInput,
                fmt::format("generation.prompt: the tokenizer of {} makes id {} of it, outside the model's vocabulary "
                            "of {}: use the tokenizer that belongs to the model",
                            setup.model_folder, id, setup.model.vocab_size));
  }
}

Prompt encode_by_model(const RunSetup& setup, const std::string& text) {
  if (const std::optional<size_t> offset = first_invalid_utf8(text)) {
    throw Error(ExitCode::kBadInput, fmt::format("generation.prompt: byte {} is not UTF-8", *offset));
  }
  TextHelper helper(find_text_helper(), setup.model_folder);
  const TokenizerFacts& facts = helper.facts();
  Prompt prompt{.tokens = helper.encode(std::span(&text, 1), true).front(),
                .stop_tokens = model_stop_tokens(setup.model)};
  if (prompt.tokens.empty()) prompt.tokens.push_back(first_token(facts, setup.model));
  require_vocabulary(setup, prompt.tokens);
  prompt.stop_tokens.insert(prompt.stop_tokens.end(), facts.stop_tokens.begin(), facts.stop_tokens.end());
  if (prompt.stop_tokens.empty() && facts.eos) prompt.stop_tokens.push_back(*facts.eos);
  return prompt;
}

// Positions the prompt leaves. Throws where it leaves none.
int64_t positions_left(const RunSetup& setup, const Prompt& prompt) {
  const int64_t left = setup.model.max_position_embeddings - std::ssize(prompt.tokens);
  if (left >= 1) return left;
  throw Error(ExitCode::kBadInput, fmt::format("generation.prompt takes {} positions, the model's "
                                               "max_position_embeddings is {}; shorten the prompt",
                                               prompt.tokens.size(), setup.model.max_position_embeddings));
}

// The sample after a training run is cut where the model's positions end; `penstock generate` refuses instead.
GenerationRequest sample_request(const RunSetup& setup, const Prompt& prompt) {
  const GenerationSection& generation = setup.config.generation;
  return {.prompts = {prompt.tokens},
          .max_new_tokens = std::min(generation.max_new_tokens, positions_left(setup, prompt)),
          .stop_tokens = prompt.stop_tokens,
          .sampling = {.greedy = generation.greedy,
                       .temperature = generation.temperature,
                       .top_k = generation.top_k,
                       .top_p = generation.top_p,
                       .seed = static_cast<uint64_t>(generation.sample_seed)}};
}

}  // namespace

void require_promptable(const RunSetup& setup) {
  const std::string& folder = setup.model_folder;
  const Tokenizer tokenizer = setup.config.dataset.tokenizer;
  if (tokenizer == Tokenizer::kModel) return;
  if (tokenizer == Tokenizer::kNone) {
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: no tokenizer to read a prompt with (dataset.tokenizer is none): neither "
                            "tokenizer.json nor the byte tokenizer",
                            folder.empty() ? "generate" : folder));
  }
  const bool byte_model =
      setup.model.vocab_size == kByteVocabularySize || (!folder.empty() && folder_has_byte_tokenizer(folder));
  if (byte_model) return;
  throw Error(ExitCode::kBadInput,
              fmt::format("{}: prompted in bytes can be only models of the byte tokenizer (vocab_size {}, or its "
                          "tokenizer.json); this one has vocab_size {}",
                          folder.empty() ? "generate" : folder, kByteVocabularySize, setup.model.vocab_size));
}

Prompt encode_prompt(const RunSetup& setup) {
  const std::string& text = setup.config.generation.prompt;
  if (setup.config.dataset.tokenizer == Tokenizer::kModel) return encode_by_model(setup, text);
  CHECK(setup.config.dataset.tokenizer == Tokenizer::kByte);
  Prompt prompt{.tokens = encode_bytes(text), .stop_tokens = model_stop_tokens(setup.model)};
  prompt.tokens.insert(prompt.tokens.begin(), kByteBos);
  return prompt;
}

void require_positions(const RunSetup& setup, const Prompt& prompt) {
  const int64_t wanted = setup.config.generation.max_new_tokens;
  if (wanted < 1) throw Error(ExitCode::kBadInput, "generate: generation.max_new_tokens is 0; set 1 or more");
  const int64_t left = positions_left(setup, prompt);
  if (wanted <= left) return;
  throw Error(ExitCode::kBadInput,
              fmt::format("generate: generation.max_new_tokens {} is too many: the prompt leaves {} of the model's "
                          "max_position_embeddings {}; set max_new_tokens to {} or less",
                          wanted, left, setup.model.max_position_embeddings, left));
}

RunPlan sample_plan(const RunSetup& setup, const Prompt& prompt) {
  RunShape shape =
      generation_shape(setup.model, setup.config.optimizer.state_format, setup.compute, sample_request(setup, prompt));
  shape.backend = setup.device.backend;
  shape.compute_threads = setup.compute_threads;
  shape.deterministic = setup.config.device.deterministic;
  shape.trainable = setup.trainable;
  shape.head_parts = setup.head_parts;
  return plan_run(shape, step_settings(setup, Purpose::kGenerate));
}

std::string continue_text(const RunSetup& setup, ModelMemory& memory, const Prompt& prompt) {
  const RunPlan plan = sample_plan(setup, prompt);
  const std::unique_ptr<Device> device = make_device(setup, plan);
  StepEngine engine(plan, memory, *device, engine_options(setup));
  const std::vector<int32_t> tokens = generate(engine, sample_request(setup, prompt)).front();
  if (setup.config.dataset.tokenizer == Tokenizer::kByte) return with_replacement_characters(decode_bytes(tokens));
  return TextHelper(find_text_helper(), setup.model_folder).decode(tokens, prompt.tokens, true);
}

}  // namespace penstock
