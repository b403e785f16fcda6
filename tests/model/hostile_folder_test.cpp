#include <sys/stat.h>

#include <cmath>

#include "hostile_case.h"
#include "loose_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
// Of every file of the tiny folder together.
constexpr size_t kFolderBytes = 64 * 1024;

// Opens the folder as a run does: configuration, names and shapes, then every value.
void read_folder(const LooseFolder& loose) {
  const ModelConfig config = load_model_config(loose.path());
  const std::vector<LayerLayout> layers = layer_layouts(config);
  const WeightFolder weights(loose.path(), layers);
  for (const LayerLayout& layer : layers) {
    for (const TensorPlace& place : layer.tensors()) {
      std::vector<float> values(place.element_count);
      weights.read(place.spec.name, 0, values);
    }
  }
}

class HostileFolder : public testing::Test {
 protected:
  void refuse(const std::string& what, const LooseFolder& loose) {
    cases_.refuse(what, kFolderBytes, [&] { read_folder(loose); });
  }
  HostileCases cases_;
};

TEST_F(HostileFolder, TheFolderTheyAreMadeFromIsGood) {
  LooseFolder loose;
  loose.write_weights();
  EXPECT_NO_THROW(read_folder(loose));
}

TEST_F(HostileFolder, EveryTensorMissingExtraMisshapenOrOfAnotherType) {
  const LooseFolder good;
  int tensors = 0;
  for (const auto& [name, tensor] : good.tensors) {
    ++tensors;
    const auto with = [&, &name = name](const std::string& what, const auto& change) {
      LooseFolder loose;
      change(loose.tensors);
      loose.write_weights();
      refuse(name + " " + what, loose);
    };
    with("missing", [&, &name = name](auto& all) { all.erase(name); });
    with("renamed", [&, &name = name](auto& all) {
      all[name + "s"] = all[name];
      all.erase(name);
    });
    with("extra", [&, &name = name](auto& all) { all[name + ".lora_A"] = all[name]; });
    with("one row more", [&, &name = name](auto& all) { ++all[name].shape[0]; });
    with("no rows", [&, &name = name](auto& all) { all[name].shape[0] = 0; });
    with("another rank", [&, &name = name](auto& all) { all[name].shape.push_back(1); });
    with("of no shape", [&, &name = name](auto& all) { all[name].shape.clear(); });
    for (const char* dtype : {"I16", "F64", "U8", "F8_E4M3", "I64", "BOOL"}) {
      with(dtype, [&, &name = name](auto& all) { all[name].dtype = dtype; });
    }
    for (const float value : {NAN, INFINITY, -INFINITY}) {
      with("not finite", [&, &name = name](auto& all) { all[name].value = value; });
      with("not finite, wide", [&, &name = name](auto& all) {
        all[name].dtype = "F32";
        all[name].value = value;
      });
    }
  }
  EXPECT_EQ(cases_.count(), tensors * 19);
  EXPECT_GE(cases_.count(), 200);
}

TEST_F(HostileFolder, WhatIsNoRegularFile) {
  const TemporaryFolder elsewhere;
  LooseFolder donor;
  donor.write_weights();
  for (const char* name : {"config.json", kWeights, kIndex}) {
    const auto with = [&](const std::string& what, const auto& make) {
      LooseFolder loose;
      if (name != kIndex) loose.write_weights();
      fs::remove(loose.folder.path(name));
      make(loose.folder.path(name));
      refuse(std::string(name) + " " + what, loose);
    };
    with("a folder", [](const std::string& path) { fs::create_directory(path); });
    with("a pipe", [](const std::string& path) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); });
    with("empty", [](const std::string& path) { std::ofstream{path}; });
    with("a device", [](const std::string& path) { fs::create_symlink("/dev/zero", path); });
    with("a link out", [&](const std::string& path) {
      fs::create_symlink(donor.folder.path(name == kIndex ? "config.json" : name), path);
    });
    with("a relative link out", [&](const std::string& path) {
      const fs::path target = donor.folder.path(name == kIndex ? "config.json" : name);
      fs::create_symlink(fs::relative(target, fs::path(path).parent_path()), path);
    });
    with("a circle", [](const std::string& path) { fs::create_symlink(path, path); });
    with("a dangling link", [](const std::string& path) { fs::create_symlink("nothing", path); });
  }
  EXPECT_EQ(cases_.count(), 24);
}

TEST_F(HostileFolder, IndexesWithEntriesThatLeadElsewhere) {
  LooseFolder loose;
  loose.use_two_shards();
  loose.write_weights();
  loose.write_index(loose.weight_map());
  EXPECT_NO_THROW(read_folder(loose));
  const TemporaryFolder elsewhere;
  fs::copy(loose.folder.path("ends.safetensors"), elsewhere.path("out.safetensors"));
  fs::create_symlink(elsewhere.path("out.safetensors"), loose.folder.path("out.safetensors"));
  fs::create_directory(loose.folder.path("folder.safetensors"));
  ASSERT_EQ(::mkfifo(loose.folder.path("pipe.safetensors").c_str(), 0600), 0);
  const std::vector<json> names = {"../ends.safetensors",
                                   "./ends.safetensors",
                                   "x/../ends.safetensors",
                                   elsewhere.path("out.safetensors"),
                                   "/dev/zero",
                                   "..",
                                   ".",
                                   "",
                                   ".safetensors/",
                                   "a\\ends.safetensors",
                                   "..\\ends.safetensors",
                                   "C:\\ends.safetensors",
                                   std::string("ends.safetensors\0", 17),
                                   std::string("\0ends.safetensors", 17),
                                   "ends\n.safetensors",
                                   "\x1b[2J.safetensors",
                                   std::string(300, 'n') + ".safetensors",
                                   std::string(100'000, 'n') + ".safetensors",
                                   "ends.bin",
                                   "ends.safetensors.bin",
                                   "out.safetensors",
                                   "folder.safetensors",
                                   "pipe.safetensors",
                                   "absent.safetensors",
                                   "blocks.safetensors",
                                   "config.json",
                                   nullptr,
                                   7,
                                   true,
                                   json::array({"ends.safetensors"}),
                                   json::object()};
  for (const json& name : names) {
    json map = loose.weight_map();
    map["lm_head.weight"] = name;
    loose.write_index(map);
    cases_.refuse("entry " + name.dump(-1, ' ', true), kFolderBytes + 200'000, [&] { read_folder(loose); });
  }
  EXPECT_EQ(cases_.count(), 31);
}

TEST_F(HostileFolder, IndexesOfAnyText) {
  LooseFolder loose;
  loose.use_two_shards();
  loose.write_weights();
  loose.write_index(loose.weight_map());
  const std::string whole = TemporaryFolder::read(loose.folder.path(kIndex));
  const auto refuse_text = [&](const std::string& what, const std::string& text) {
    loose.folder.write(kIndex, text);
    refuse(what, loose);
  };
  for (size_t length = 0; length < whole.size(); ++length) refuse_text("cut", whole.substr(0, length));
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  for (const std::string& text :
       {deep, std::string("{\"weight_map\":") + deep + "}", std::string("{}"), std::string("[]"), std::string("null"),
        std::string("{\"weight_map\":[]}"), std::string("{\"weight_map\":{}}"), std::string("{\"weight_map\":null}"),
        std::string("{\"weight_map\":{\"a\":\"b.safetensors\",\"a\":\"b.safetensors\"}}"), whole + whole, whole + "x",
        whole + std::string(1, '\0'), std::string("\xff\xfe{}"), "{\"metadata\":" + deep + "," + whole.substr(1)}) {
    refuse_text("text", text);
  }
  EXPECT_GE(cases_.count(), 200);
}

TEST_F(HostileFolder, ShardsThatAreHostileThemselves) {
  LooseFolder loose;
  loose.use_two_shards();
  loose.write_weights();
  loose.write_index(loose.weight_map());
  for (const char* shard : {"ends.safetensors", "blocks.safetensors"}) {
    const std::string whole = TemporaryFolder::read(loose.folder.path(shard));
    for (const size_t length :
         {size_t{0}, size_t{7}, size_t{8}, size_t{9}, size_t{4095}, size_t{4096}, whole.size() - 1}) {
      loose.folder.write(shard, whole.substr(0, length));
      refuse("shard cut", loose);
    }
    loose.folder.write(shard, whole + "x");
    refuse("shard with a tail", loose);
    loose.folder.write(shard, whole);
  }
  EXPECT_NO_THROW(read_folder(loose));
  EXPECT_EQ(cases_.count(), 16);
}

}  // namespace
}  // namespace penstock
