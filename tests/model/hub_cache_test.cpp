#include "model/hub_cache.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "expect_error.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

// A hub cache as huggingface_hub lays it out, below a fresh folder.
class HubCache : public testing::Test {
 protected:
  EnvironmentLookup environment(std::map<std::string, std::string> variables) {
    return [variables](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? std::string() : found->second;
    };
  }
  EnvironmentLookup cache() { return environment({{"HF_HUB_CACHE", folder_.path("hub")}}); }

  void write(const std::string& file, const std::string& bytes) {
    fs::create_directories(fs::path(folder_.path(file)).parent_path());
    folder_.write(file, bytes);
  }
  // Returns the snapshot.
  std::string add_model(const std::string& hub, const std::string& repository, const std::string& ref = "main") {
    const std::string snapshot = hub + "/" + repository + "/snapshots/" + kCommit;
    write(hub + "/" + repository + "/refs/" + ref, kCommit);
    write(snapshot + "/config.json", "{}");
    write(snapshot + "/model.safetensors", "weights");
    return folder_.path(snapshot);
  }
  void expect_missing(const std::string& name, const std::vector<std::string>& parts) {
    expect_error(ExitCode::kBadInput, parts, [&] { resolve_model_path(name, cache()); });
  }

  TemporaryFolder folder_;
};

TEST_F(HubCache, AFolderIsReturnedAsItIs) {
  fs::create_directories(folder_.path("here"));
  EXPECT_EQ(resolve_model_path(folder_.path("here"), environment({})), folder_.path("here"));
}

TEST_F(HubCache, FindsTheSnapshotOfMain) {
  const std::string snapshot = add_model("hub", "models--org--name");
  EXPECT_EQ(resolve_model_path("org/name", cache()), snapshot);
  const std::string short_name = add_model("hub", "models--gpt2");
  EXPECT_EQ(resolve_model_path("gpt2", cache()), short_name);
  write("hub/models--org--name/refs/main", std::string(kCommit) + "\n");
  EXPECT_EQ(resolve_model_path("org/name", cache()), snapshot);
}

TEST_F(HubCache, FindsRevisions) {
  const std::string snapshot = add_model("hub", "models--org--name", "refs/pr/1");
  EXPECT_EQ(resolve_model_path("org/name@refs/pr/1", cache()), snapshot);
  EXPECT_EQ(resolve_model_path(std::string("org/name@") + kCommit, cache()), snapshot);
  expect_missing("org/name", {"org/name", "refs/main", "hf download org/name"});
  expect_missing("org/name@v2", {"snapshots/v2", "hf download org/name --revision v2"});
}

TEST_F(HubCache, AsksTheVariablesInTheOrderOfHuggingfaceHub) {
  std::map<std::string, std::string> variables;
  const auto add = [&](const char* variable, const char* value, const std::string& hub) {
    variables[variable] = folder_.path(value);
    const std::string snapshot = add_model(hub, "models--org--name");
    EXPECT_EQ(resolve_model_path("org/name", environment(variables)), snapshot) << variable;
  };
  add("HOME", "home", "home/.cache/huggingface/hub");
  add("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub");
  add("HF_HOME", "hf", "hf/hub");
  add("HUGGINGFACE_HUB_CACHE", "older", "older");
  add("HF_HUB_CACHE", "cache", "cache");
  variables = {{"HOME", folder_.path("home")}, {"HF_HOME", "~/elsewhere"}};
  const std::string snapshot = add_model("home/elsewhere/hub", "models--org--name");
  EXPECT_EQ(resolve_model_path("org/name", environment(variables)), snapshot);
  expect_error(ExitCode::kBadInput, {"HF_HOME", "HOME"}, [&] { resolve_model_path("org/name", environment({})); });
}

TEST_F(HubCache, SaysWhereItLookedAndHowToFetch) {
  expect_missing("Qwen/Qwen3-4B", {"Qwen/Qwen3-4B", folder_.path("hub"), "hf download Qwen/Qwen3-4B"});
  expect_missing("Qwen/Qwen3-4B@v1.0", {"Qwen/Qwen3-4B@v1.0", "hf download Qwen/Qwen3-4B --revision v1.0"});
}

TEST_F(HubCache, RefusesIncompleteSnapshots) {
  const std::string snapshot = add_model("hub", "models--org--name");
  fs::remove(snapshot + "/config.json");
  expect_missing("org/name", {"config.json", "hf download org/name"});
  fs::create_symlink("../../blobs/gone", snapshot + "/config.json");
  expect_missing("org/name", {"config.json", "hf download org/name"});
  fs::remove(snapshot + "/config.json");
  const std::string inside = std::string("hub/models--org--name/snapshots/") + kCommit;
  write(inside + "/config.json", "{}");
  fs::remove(snapshot + "/model.safetensors");
  expect_missing("org/name", {"model.safetensors", "hf download org/name"});
  const std::string index = inside + "/model.safetensors.index.json";
  write(index, R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}})");
  write(inside + "/one.safetensors", "x");
  expect_missing("org/name", {"two.safetensors", "hf download org/name"});
  write(inside + "/two.safetensors", "x");
  EXPECT_EQ(resolve_model_path("org/name", cache()), snapshot);
  for (const char* bad : {"[]", "{}", R"({"weight_map": {}})", R"({"weight_map": {"a": 1}})",
                          R"({"weight_map": {"a": "../one.safetensors"}})"}) {
    write(index, bad);
    expect_missing("org/name", {"model.safetensors.index.json", "hf download org/name"});
  }
  write(index, "{");
  expect_missing("org/name", {"model.safetensors.index.json", "JSON"});
}

TEST_F(HubCache, SaysThatPickledWeightsAreNotRead) {
  const std::string snapshot = add_model("hub", "models--org--name");
  fs::remove(snapshot + "/model.safetensors");
  const std::string inside = std::string("hub/models--org--name/snapshots/") + kCommit;
  write(inside + "/training_args.bin", "x");
  expect_missing("org/name", {"lacks model.safetensors", "hf download org/name"});
  for (const char* name : {"pytorch_model.bin.index.json", "pytorch_model.bin"}) {
    write(inside + "/" + name, "weights");
    try {
      resolve_model_path("org/name", cache());
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(std::string(name) + " and no model.safetensors"));
      EXPECT_THAT(error.what(), testing::HasSubstr("only safetensors weights are read"));
      EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("hf download")));
    }
    fs::remove(folder_.path(inside + "/" + name));
  }
}

TEST_F(HubCache, RefusesHostileRefs) {
  add_model("hub", "models--org--name");
  for (const std::string& ref : {std::string(), std::string("\n"), std::string("../../evil"), std::string("/etc"),
                                 std::string(".."), std::string("."), std::string("a\nb"), std::string("a\0b", 3),
                                 std::string(100'000, 'a'), std::string("\xff")}) {
    write("hub/models--org--name/refs/main", ref);
    SCOPED_TRACE(ref.substr(0, 20));
    expect_missing("org/name", {"refs/main", "damaged", "hf download org/name"});
  }
}

TEST_F(HubCache, RefusesNamesThatAreNeither) {
  add_model("hub", "models--org--name");
  for (const char* name : {"",
                           "org/",
                           "/name",
                           "org/name/more",
                           "../name",
                           "org/..",
                           "org/na me",
                           "org/name@",
                           "org/name@../main",
                           "org/name@/main",
                           "org/name@a//b",
                           "@main",
                           "org/n\name",
                           "-org/name",
                           "--help",
                           "org/-name",
                           "org--name",
                           "org/na--me",
                           "org/name-",
                           "org/name@-v1",
                           "org/\xff",
                           "/no/such/folder",
                           "./org/name"}) {
    SCOPED_TRACE(name);
    expect_missing(name, {"neither a folder nor a hub id"});
  }
  expect_missing("org/" + std::string(100'000, 'x'), {"neither a folder nor a hub id"});
}

}  // namespace
}  // namespace penstock
