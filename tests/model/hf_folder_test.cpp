#include "model/hf_folder.h"

#include <gtest/gtest.h>

#include <limits>

#include "loose_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

TEST(WeightFolder, MissingConfigAndMissingWeightsAreNamed) {
  const TemporaryFolder folder;
  expect_error(ExitCode::kBadInput, {"config.json", "No such file"}, [&] { load_model_config(folder.path("absent")); });
  const LooseFolder loose;
  loose.folder.write("pytorch_model.bin", "x");
  EXPECT_FALSE(holds_weights(loose.path()));
  loose.expect_refused({"no model.safetensors", "only safetensors"});
}

TEST(WeightFolder, NamesMissingUnexpectedAndMisshapenTensors) {
  LooseFolder loose;
  loose.write_weights();
  EXPECT_NO_THROW(loose.open());
  EXPECT_TRUE(holds_weights(loose.path()));

  loose.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {.shape = {2}};
  loose.write_weights();
  EXPECT_NO_THROW(loose.open());

  loose.tensors["model.layers.0.self_attn.q_proj.bias"] = {.shape = {24}};
  loose.write_weights();
  loose.expect_refused({"unexpected model.layers.0.self_attn.q_proj.bias"});

  loose.tensors.erase(kHead);
  loose.write_weights();
  loose.expect_refused({"missing lm_head.weight", "unexpected model.layers.0.self_attn.q_proj.bias"});

  LooseFolder wrong;
  wrong.tensors["model.layers.1.self_attn.k_proj.weight"].shape = {24, 8};
  wrong.write_weights();
  wrong.expect_refused({"model.layers.1.self_attn.k_proj.weight", "[24, 8]", "[8, 24]"});
}

TEST(WeightFolder, LongListsOfNamesAreCut) {
  LooseFolder loose;
  std::erase_if(loose.tensors, [](const auto& entry) { return entry.first.find("layers.1.") != std::string::npos; });
  loose.write_weights();
  loose.expect_refused({"missing model.layers.1.input_layernorm.weight", "and 6 more"});
}

TEST(WeightFolder, RefusesNonFiniteValuesAndOtherDtypes) {
  for (const char* dtype : {"BF16", "F32"}) {
    LooseFolder loose;
    loose.tensors[kEmbedding] = {.shape = {263, 24}, .dtype = dtype, .value = -std::numeric_limits<float>::infinity()};
    loose.write_weights();
    const WeightFolder weights(loose.path(), layer_layouts(tiny_config()));
    std::vector<float> values(2);
    expect_error(ExitCode::kBadInput, {kEmbedding, "-inf", "element 5"}, [&] { weights.read(kEmbedding, 5, values); });
    std::vector<std::byte> bytes(2 * safetensors_element_bytes(dtype));
    expect_error(ExitCode::kBadInput, {kEmbedding, "-inf", "element 5"},
                 [&] { weights.read_stored(kEmbedding, 5, bytes); });
  }
  LooseFolder loose;
  loose.tensors[kHead].dtype = "I16";
  loose.write_weights();
  loose.expect_refused({kHead, "is I16"});
}

TEST(WeightFolder, ReadsShardsThroughTheIndex) {
  LooseFolder loose;
  loose.use_two_shards();
  float value = 1;
  for (auto& [name, tensor] : loose.tensors) tensor.value = value++;
  loose.write_weights();
  loose.write_index(loose.weight_map());
  const WeightFolder weights(loose.path(), layer_layouts(tiny_config()));
  for (const auto& [name, tensor] : loose.tensors) {
    std::vector<float> values(20);
    weights.read(name, 3, values);
    EXPECT_EQ(values, std::vector<float>(20, tensor.value)) << name;
    EXPECT_EQ(fs::path(weights.find(name).file->path()).filename(), tensor.shard);
  }
  EXPECT_TRUE(weights.other_tensors().empty());
}

TEST(WeightFolder, RefusesIndexesThatDoNotMatchTheirShards) {
  LooseFolder loose;
  loose.use_two_shards();
  loose.write_weights();
  const auto with = [&](const char* name, const char* shard) {
    auto map = loose.weight_map();
    map[name] = shard;
    loose.write_index(map);
  };
  with(kHead, "blocks.safetensors");
  loose.expect_refused({"index.json", "lm_head.weight is not in blocks.safetensors"});
  with("model.extra.weight", "ends.safetensors");
  loose.expect_refused({"model.extra.weight is not in ends.safetensors"});
  with(kHead, "gone.safetensors");
  loose.expect_refused({"gone.safetensors", "No such file"});

  auto unlisted = loose.weight_map();
  unlisted.erase(kHead);
  loose.write_index(unlisted);
  loose.expect_refused({"index.json", "does not list tensor lm_head.weight"});

  const SafetensorsSpec twice = {.name = kHead, .dtype = "U8", .shape = {0}};
  write_safetensors(loose.folder.path("more.safetensors"), std::span(&twice, 1), [](size_t, uint64_t, auto) {});
  with("more", "more.safetensors");
  loose.expect_refused({kHead, "is also in"});

  loose.folder.write("model.safetensors", "");
  loose.expect_refused({"both model.safetensors and"});
}

TEST(WeightFolder, ATiedHeadMayBeStoredTwiceIfBothAreEqual) {
  ModelConfig config = tiny_config();
  config.tie_word_embeddings = true;
  LooseFolder loose(config);
  ASSERT_FALSE(loose.tensors.contains(kHead));
  loose.write_weights();
  EXPECT_NO_THROW(loose.open());
  loose.tensors[kHead] = loose.tensors[kEmbedding];
  loose.write_weights();
  EXPECT_NO_THROW(loose.open());
  loose.tensors[kHead].dtype = "F32";  // the same values
  loose.write_weights();
  EXPECT_NO_THROW(loose.open());
  loose.tensors[kHead].value = 0.25f;
  loose.write_weights();
  loose.expect_refused({kHead, "tie_word_embeddings is true", "differs"});
  loose.tensors[kHead] = {.shape = {24, 263}};
  loose.write_weights();
  loose.expect_refused({kHead, "tie_word_embeddings is true", "differs"});
}

// The last element alone differs: every one is compared.
TEST(WeightFolder, ATiedHeadIsComparedToItsEnd) {
  ModelConfig config = tiny_config();
  config.tie_word_embeddings = true;
  config.vocab_size = 70'000;  // 26 buffers
  LooseFolder loose(config);
  loose.tensors[kHead] = loose.tensors[kEmbedding];
  loose.write_weights();
  EXPECT_NO_THROW(loose.open());
  const SafetensorsFile file(loose.folder.path("model.safetensors"));
  const SafetensorsEntry& head = *file.find(kHead);
  std::string bytes = TemporaryFolder::read(file.path());
  bytes[head.file_offset + head.byte_count - 2] ^= 1;
  loose.folder.write("model.safetensors", bytes);
  loose.expect_refused({kHead, "differs"});
}

class Wrapper : public LooseFolder {
 public:
  explicit Wrapper(const std::string& body, const std::string& head) {
    const json text = json::parse(TemporaryFolder::read(folder.path("config.json")));
    folder.write("config.json", json({{"model_type", "llava"}, {"text_config", text}}).dump());
    rename("model.", body);
    rename(kHead, head);
    // A tower whose names look like ours, one whose type we do not read, and a scalar.
    tensors["vision_tower.encoder.layers.0.input_layernorm.weight"] = {.shape = {5}};
    tensors["vision_tower.encoder.layers.0.lm_head.weight"] = {.shape = {5}};
    tensors["vision_tower.position_ids"] = {.shape = {1, 7}, .dtype = "I64"};
    tensors["multi_modal_projector.scale"] = {.shape = {}, .dtype = "F64"};
  }
};

TEST(WeightFolder, FindsTheTextModelOfAMultimodalFolder) {
  const std::vector<std::pair<std::string, std::string>> forms = {
      {"language_model.model.", "language_model.lm_head.weight"},
      {"model.language_model.", kHead},
      {"model.text_model.", kHead},
      {"model.", kHead},
      {"text.", "text.lm_head.weight"},
  };
  for (const auto& [body, head] : forms) {
    SCOPED_TRACE(body);
    Wrapper loose(body, head);
    float value = 1;
    for (auto& [name, tensor] : loose.tensors) tensor.value = value++;
    loose.write_weights();
    const WeightFolder weights(loose.path(), layer_layouts(tiny_config()));
    EXPECT_EQ(weights.find(kHead).entry->name, head);
    EXPECT_EQ(weights.find("model.norm.weight").entry->name, body + "norm.weight");
    std::vector<float> values(1);
    weights.read("model.layers.1.mlp.up_proj.weight", 9, values);
    EXPECT_EQ(values[0], loose.tensors.at(body + "layers.1.mlp.up_proj.weight").value);
    EXPECT_EQ(weights.other_tensors().size(), 4u);
  }
}

TEST(WeightFolder, RefusesAMultimodalFolderWithoutOneTextModel) {
  Wrapper partial("language_model.model.", "language_model.lm_head.weight");
  partial.tensors.erase("language_model.model.norm.weight");
  partial.write_weights();
  partial.expect_refused({"text_config", "only a part"});

  Wrapper none("language_model.model.", "language_model.lm_head.weight");
  std::erase_if(none.tensors,
                [](const auto& entry) { return entry.first.find("layers.0.input") != std::string::npos; });
  none.write_weights();
  none.expect_refused({"text_config", "no layer 0"});

  Wrapper two("language_model.model.", "language_model.lm_head.weight");
  for (const auto& [name, tensor] : LooseFolder().tensors) two.tensors["draft." + name] = tensor;
  two.write_weights();
  two.expect_refused({"draft.model.", "language_model.model."});

  Wrapper headless("language_model.model.", "language_model.lm_head.weight");
  headless.tensors.erase("language_model.lm_head.weight");
  headless.write_weights();
  headless.expect_refused({"missing lm_head.weight"});
}

TEST(FolderFiles, LinksStayInTheFolderOrInTheCachesBlobs) {
  LooseFolder loose;
  loose.write_weights();
  const std::string weights = loose.folder.path("model.safetensors");
  fs::rename(weights, loose.folder.path("real"));
  fs::create_symlink("real", weights);
  EXPECT_NO_THROW(loose.open());

  const TemporaryFolder elsewhere;
  fs::rename(loose.folder.path("real"), elsewhere.path("stolen"));
  fs::remove(weights);
  fs::create_symlink(elsewhere.path("stolen"), weights);
  loose.expect_refused({"model.safetensors", "outside of its folder"});
  fs::remove(weights);
  fs::create_symlink("model.safetensors", weights);
  loose.expect_refused({"model.safetensors", "cannot be followed"});
  fs::remove(weights);
  fs::create_symlink("nowhere", weights);
  loose.expect_refused({"model.safetensors", "cannot be followed"});

  const TemporaryFolder cache;
  fs::create_directories(cache.path("repo/snapshots/abc"));
  fs::create_directories(cache.path("repo/blobs"));
  fs::rename(elsewhere.path("stolen"), cache.path("repo/blobs/123"));
  fs::copy(loose.folder.path("config.json"), cache.path("repo/blobs/456"));
  fs::create_symlink("../../blobs/123", cache.path("repo/snapshots/abc/model.safetensors"));
  fs::create_symlink("../../blobs/456", cache.path("repo/snapshots/abc/config.json"));
  EXPECT_EQ(load_model_config(cache.path("repo/snapshots/abc")), tiny_config());
  EXPECT_NO_THROW(WeightFolder(cache.path("repo/snapshots/abc"), layer_layouts(tiny_config())));
  fs::rename(cache.path("repo/blobs"), cache.path("repo/other"));
  fs::create_directory_symlink("other", cache.path("repo/blobs"));  // blobs that are not there themselves
  expect_error(ExitCode::kBadInput, {"outside of its folder"},
               [&] { WeightFolder(cache.path("repo/snapshots/abc"), layer_layouts(tiny_config())); });
}

}  // namespace
}  // namespace penstock
