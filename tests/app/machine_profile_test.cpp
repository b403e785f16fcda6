// A saved probe comes back as it was; anything else in its place is as good as none.
#include "app/machine_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/bytes.h"
#include "core/error.h"
#include "core/file.h"
#include "probe_profile.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

MachineProfile on_a_card() {
  MachineProfile profile = made_up_profile();
  profile.identity.device = "NVIDIA H200";
  profile.pinning = PinTimes{.seconds_per_gib = 0.1};
  profile.quick = true;
  return profile;
}

class SavedProfile : public testing::Test {
 protected:
  SavedProfile() : before_(spdlog::default_logger()) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(log_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  ~SavedProfile() override { spdlog::set_default_logger(before_); }

  fs::path cache() const { return folder_.path() / "cache"; }
  std::optional<MachineProfile> load(const MachineProfile& profile) {
    return load_machine_profile(cache(), profile.identity);
  }
  // One warning, and nothing loaded, with `text` as the file.
  void expect_ignored(const std::string& text) {
    const fs::path path = save_machine_profile(cache(), made_up_profile());
    std::ofstream(path) << text;
    log_.str("");
    EXPECT_FALSE(load(made_up_profile())) << text;
    const std::string log = log_.str();
    EXPECT_EQ(std::ranges::count(log, '\n'), 1) << log;
    EXPECT_THAT(log, testing::HasSubstr("penstock probe"));
  }

  TemporaryFolder folder_;
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(SavedProfile, ComesBackAsItWas) {
  for (const MachineProfile& profile : {made_up_profile(), on_a_card()}) {
    const fs::path path = save_machine_profile(cache(), profile);
    EXPECT_EQ(path.parent_path(), cache());
    const std::optional<MachineProfile> loaded = load(profile);
    ASSERT_TRUE(loaded);
    EXPECT_EQ(to_json(*loaded), to_json(profile));
    EXPECT_EQ(loaded->identity, profile.identity);
    EXPECT_EQ(loaded->stream.knee, 2);
    EXPECT_EQ(loaded->quick, profile.quick);
    EXPECT_EQ(loaded->pinning.has_value(), profile.pinning.has_value());
  }
  EXPECT_EQ(log_.str(), "");
}

TEST_F(SavedProfile, IsReplaced) {
  save_machine_profile(cache(), made_up_profile());
  MachineProfile newer = made_up_profile();
  newer.link.h2d_gbps = 99;
  save_machine_profile(cache(), newer);
  EXPECT_EQ(load(newer)->link.h2d_gbps, 99);
  EXPECT_EQ(std::distance(fs::directory_iterator(cache()), fs::directory_iterator()), 1) << "one file a machine";
}

TEST_F(SavedProfile, BelongsToOneMachineAndDevice) {
  save_machine_profile(cache(), made_up_profile());
  for (const auto change : {+[](MachineIdentity& machine) { machine.processor += "X"; },
                            +[](MachineIdentity& machine) { machine.core_count = 1; },
                            +[](MachineIdentity& machine) { machine.memory_gib = 31; },
                            +[](MachineIdentity& machine) { machine.device = "NVIDIA H200"; }}) {
    MachineIdentity other = made_up_profile().identity;
    change(other);
    EXPECT_FALSE(load_machine_profile(cache(), other));
  }
  EXPECT_EQ(log_.str(), "") << "a probe that was never made is no reason to warn";
}

TEST_F(SavedProfile, OfAnotherMachineUnderOurNameIsIgnored) { expect_ignored(to_json(on_a_card()).dump()); }

TEST_F(SavedProfile, DamagedIsIgnored) {
  const nlohmann::json whole = to_json(made_up_profile());
  expect_ignored("");
  expect_ignored(whole.dump().substr(0, 300));
  expect_ignored("[1, 2]");
  for (const auto& [key, value] : whole.items()) {
    nlohmann::json part = whole;
    part.erase(key);
    expect_ignored(part.dump());
  }
}

TEST_F(SavedProfile, SenselessValuesAreIgnored) {
  const nlohmann::json whole = to_json(made_up_profile());
  const std::vector<std::pair<const char*, nlohmann::json>> bad = {{"/schema", 0},
                                                                   {"/schema", "1"},
                                                                   {"/link/h2d_gbps", 0},
                                                                   {"/link/h2d_gbps", nullptr},
                                                                   {"/stream/knee", 3},
                                                                   {"/stream/knee", 0},
                                                                   {"/stream/in_place", {}},
                                                                   {"/gemm/0/dtype", "int4"},
                                                                   {"/gemm", nlohmann::json::array()},
                                                                   {"/gemm/0/dtype", "bfloat16"},
                                                                   {"/gemm/1/dtype", "float32"},
                                                                   {"/compute_threads", 0},
                                                                   {"/gemm/0/tflops", -1},
                                                                   {"/stream/best_gbps", 0.0},
                                                                   {"/disk/write_gbps", 0},
                                                                   {"/identity/cores", 1 << 30},
                                                                   {"/probe_seconds", "?"},
                                                                   {"/quick", 1},
                                                                   {"/link/latency_us", "fast"},
                                                                   {"/stream/copy_gbps", -2}};
  for (const auto& [path, value] : bad) {
    nlohmann::json json = whole;
    json[nlohmann::json::json_pointer(path)] = value;
    expect_ignored(json.dump());
  }
}

TEST_F(SavedProfile, LeavesAnotherProbesUnfinishedFileAlone) {
  const std::string other = (cache() / machine_profile_name(made_up_profile().identity)).string() + ".tmp";
  fs::create_directories(cache());
  std::ofstream(other) << "half a probe";
  save_machine_profile(cache(), made_up_profile());
  EXPECT_EQ(read_text_file(other, kMiB), "half a probe");
  EXPECT_TRUE(load(made_up_profile()));
  EXPECT_EQ(std::distance(fs::directory_iterator(cache()), fs::directory_iterator()), 2) << "nothing of ours is left";
}

TEST_F(SavedProfile, OfAFolderWhoseNameIsNoText) {
  MachineProfile profile = made_up_profile();
  profile.disk.folder = "/caf\xe9";  // Latin-1
  save_machine_profile(cache(), profile);
  ASSERT_TRUE(load(profile));
  EXPECT_EQ(load(profile)->disk.folder, "/caf\xef\xbf\xbd");
}

TEST_F(SavedProfile, WhatWasNotMeasuredNeedsNoValue) {
  MachineProfile profile = on_a_card();
  profile.pinning = PinTimes{.problem = "refused"};
  profile.disk = {.folder = "/data", .problem = "full"};
  save_machine_profile(cache(), profile);
  const std::optional<MachineProfile> loaded = load(profile);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->disk.problem, "full");
  EXPECT_EQ(loaded->pinning->problem, "refused");
}

TEST_F(SavedProfile, AFolderThatCannotBeMadeIsOneLine) {
  std::ofstream(folder_.path() / "file") << "in the way";
  try {
    save_machine_profile(folder_.path() / "file" / "penstock", made_up_profile());
    FAIL() << "saved";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kIo);
  }
}

TEST_F(SavedProfile, RatesByType) {
  const MachineProfile profile = made_up_profile();
  EXPECT_EQ(profile.tflops(DType::kFloat32), 0.25);
  EXPECT_EQ(profile.tflops(DType::kBFloat16), 1);
  EXPECT_EQ(profile.tflops(DType::kFloat16), 0);
}

class ProfileFolder : public testing::Test {
 protected:
  void set(const char* name, const char* value) { value == nullptr ? unsetenv(name) : setenv(name, value, 1); }
  void SetUp() override {
    for (const char* name : {"XDG_CACHE_HOME", "HOME"}) {
      const char* value = getenv(name);
      before_.emplace_back(name, value == nullptr ? std::optional<std::string>() : value);
    }
  }
  void TearDown() override {
    for (const auto& [name, value] : before_) set(name, value ? value->c_str() : nullptr);
  }

  std::vector<std::pair<const char*, std::optional<std::string>>> before_;
};

TEST_F(ProfileFolder, FollowsTheXdgSpecification) {
  set("HOME", "/home/me");
  set("XDG_CACHE_HOME", "/cache");
  EXPECT_EQ(machine_profile_folder(), "/cache/penstock");
  set("XDG_CACHE_HOME", nullptr);
  EXPECT_EQ(machine_profile_folder(), "/home/me/.cache/penstock");
  set("XDG_CACHE_HOME", "relative/is/ignored");
  EXPECT_EQ(machine_profile_folder(), "/home/me/.cache/penstock");
  set("HOME", nullptr);
  EXPECT_EQ(machine_profile_folder(), "");
  set("XDG_CACHE_HOME", "");
  EXPECT_EQ(machine_profile_folder(), "");
}

}  // namespace
}  // namespace penstock
