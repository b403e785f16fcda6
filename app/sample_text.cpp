// Text after a prompt, with the built-in byte tokenizer: what it needs, and whether the model can be asked at all.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/run_setup.h"
#include "core/error.h"
#include "core/file.h"
#include "data/byte_tokenizer.h"
#include "data/utf8.h"
#include "model/byte_tokenizer_files.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> prompt_tokens(const std::string& prompt) {
  std::vector<int32_t> tokens = {kByteBos};
  const std::vector<int32_t> bytes = encode_bytes(prompt);
  tokens.insert(tokens.end(), bytes.begin(), bytes.end());
  return tokens;
}

// Positions the prompt leaves. Throws where it leaves none.
int64_t positions_left(const RunSetup& setup, size_t prompt_length) {
  const int64_t left = setup.model.max_position_embeddings - static_cast<int64_t>(prompt_length);
  if (left >= 1) return left;
  throw Error(ExitCode::kBadInput, fmt::format("generation.prompt takes {} positions, the model's "
                                               "max_position_embeddings is {}; shorten the prompt",
                                               prompt_length, setup.model.max_position_embeddings));
}

// The sample after a training run is cut where the model's positions end; `penstock generate` refuses instead.
GenerationRequest sample_request(const RunSetup& setup, const std::string& prompt) {
  const GenerationSection& generation = setup.config.generation;
  GenerationRequest request;
  request.prompts.push_back(prompt_tokens(prompt));
  request.max_new_tokens = std::min(generation.max_new_tokens, positions_left(setup, request.prompts.front().size()));
  for (int64_t id : setup.model.eos_token_ids) request.stop_tokens.push_back(static_cast<int32_t>(id));
  request.sampling = {.greedy = generation.greedy,
                      .temperature = generation.temperature,
                      .top_k = generation.top_k,
                      .top_p = generation.top_p,
                      .seed = static_cast<uint64_t>(generation.sample_seed)};
  return request;
}

bool folder_has_byte_tokenizer(const std::string& folder) {
  const fs::path path = fs::path(folder) / "tokenizer.json";
  const std::string expected = byte_tokenizer_json();
  std::error_code error;
  return fs::file_size(path, error) == expected.size() && !error &&
         read_text_file(path.string(), expected.size()) == expected;
}

}  // namespace

void require_promptable(const RunSetup& setup) {
  const std::string& folder = setup.config.model.model_name_or_path;
  const bool byte_model =
      setup.model.vocab_size == kByteVocabularySize || (!folder.empty() && folder_has_byte_tokenizer(folder));
  if (setup.config.dataset.tokenizer == Tokenizer::kByte && byte_model) return;
  throw Error(ExitCode::kBadInput,
              fmt::format("{}: only models of the byte tokenizer can be prompted yet (dataset.tokenizer byte, "
                          "vocab_size {}); this one has vocab_size {} and tokenizer {}",
                          folder.empty() ? "generate" : folder, kByteVocabularySize, setup.model.vocab_size,
                          setup.config.dataset.tokenizer == Tokenizer::kByte ? "byte" : "none"));
}

void require_positions(const RunSetup& setup, const std::string& prompt) {
  const int64_t wanted = setup.config.generation.max_new_tokens;
  if (wanted < 1) throw Error(ExitCode::kBadInput, "generate: generation.max_new_tokens is 0; set 1 or more");
  const int64_t left = positions_left(setup, prompt_tokens(prompt).size());
  if (wanted <= left) return;
  throw Error(ExitCode::kBadInput,
              fmt::format("generate: generation.max_new_tokens {} is too many: the prompt leaves {} of the model's "
                          "max_position_embeddings {}; set max_new_tokens to {} or less",
                          wanted, left, setup.model.max_position_embeddings, left));
}

RunPlan sample_plan(const RunSetup& setup, const std::string& prompt) {
  RunShape shape =
      generation_shape(setup.model, setup.config.optimizer.state_format, setup.compute, sample_request(setup, prompt));
  shape.compute_threads = setup.compute_threads;
  return plan_run(shape, step_settings(setup, Purpose::kGenerate));
}

std::string continue_text(const RunSetup& setup, ModelMemory& memory, const std::string& text) {
  const RunPlan plan = sample_plan(setup, text);
  const std::unique_ptr<HostDevice> device = make_device(setup);
  StepEngine engine(plan, memory, *device, engine_options(setup));
  return with_replacement_characters(decode_bytes(generate(engine, sample_request(setup, text)).front()));
}

}  // namespace penstock
