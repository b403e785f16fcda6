#include "app/config_keys.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include "app/config_aliases.h"
#include "app/configuration_doc.h"
#include "config_texts.h"

namespace penstock {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// One key as an override on the minimal configuration; errors that name the key and its range.
std::vector<std::string> range_errors(const ConfigKey& key, const std::string& value) {
  std::vector<std::string> found;
  for (const std::string& line : errors_of(kMinimalConfig, {key.full_name() + "=" + value})) {
    if (line.find(key.full_name() + ": '" + value + "' is") != std::string::npos) found.push_back(line);
  }
  return found;
}

TEST(ConfigKeys, LeafNamesAreUniqueAndNoneIsASectionOrAnAlias) {
  std::set<std::string> names(config_sections().begin(), config_sections().end());
  for (const ConfigKey& key : config_keys()) EXPECT_TRUE(names.insert(key.name).second) << key.name;
  for (const ConfigAlias& alias : config_aliases()) {
    EXPECT_TRUE(names.insert(std::string(alias.name)).second) << alias.name;
    EXPECT_EQ(config_key(alias.full_name).full_name(), alias.full_name);
  }
}

TEST(ConfigKeys, EveryRowIsComplete) {
  for (const ConfigKey& key : config_keys()) {
    SCOPED_TRACE(key.full_name());
    EXPECT_FALSE(key.meaning.empty());
    EXPECT_EQ(key.type == KeyType::kChoice, !key.choices.empty());
    const bool has_range = key.type == KeyType::kInteger || key.type == KeyType::kNumber;
    EXPECT_EQ(has_range, key.range.minimum < key.range.maximum);
  }
}

TEST(ConfigKeys, EveryDefaultIsInRange) {
  const RunConfig defaults;
  for (const ConfigKey& key : config_keys()) {
    const KeyValue value = key.read(defaults);
    if (const auto* whole = std::get_if<int64_t>(&value); whole != nullptr && key.type == KeyType::kInteger) {
      EXPECT_TRUE(key.range.contains(static_cast<double>(*whole))) << key.full_name();
    }
    if (const auto* number = std::get_if<double>(&value)) {
      EXPECT_TRUE(key.range.contains(*number)) << key.full_name();
    }
  }
}

// Writing a key through the table must change that field and no other.
TEST(ConfigKeys, EveryKeyReadsBackWhatItWrote) {
  for (const ConfigKey& key : config_keys()) {
    SCOPED_TRACE(key.full_name());
    if (key.name == "model_type") continue;  // a choice of one
    RunConfig config;
    KeyValue value;
    switch (key.type) {
      case KeyType::kBool:
        value = !std::get<bool>(key.read(config));
        break;
      case KeyType::kInteger:
        value = int64_t{7};
        break;
      case KeyType::kNumber:
        value = 0.125;
        break;
      case KeyType::kText:
        value = std::string("some text");
        break;
      case KeyType::kTextList:
        value = std::vector<std::string>{"a", "b"};
        break;
      case KeyType::kChoice:
        value = static_cast<int64_t>(key.choices.size() - 1);
        break;
    }
    key.write(config, value);
    EXPECT_EQ(key.read(config), value);
    EXPECT_FALSE(config == RunConfig{});
    for (const ConfigKey& other : config_keys()) {
      const bool is_shape = key.name == "model_name_or_path" && other.section == "model";  // unset by a folder
      if (&other == &key || is_shape) continue;
      EXPECT_EQ(other.read(config), other.read(RunConfig{})) << other.full_name();
    }
    const std::string dumped = dump_run_config(config);
    const std::string line = fmt::format("  {}: {}\n", key.name, key_value_text(key, value));
    EXPECT_THAT(dumped, HasSubstr(line));
    key.write(config, key.read(RunConfig{}));
    EXPECT_TRUE(config == RunConfig{});
  }
}

TEST(ConfigKeys, EveryRangeEdgeIsEnforced) {
  for (const ConfigKey& key : config_keys()) {
    SCOPED_TRACE(key.full_name());
    const KeyRange& range = key.range;
    if (key.type == KeyType::kInteger) {
      const auto minimum = static_cast<int64_t>(range.minimum);
      const auto maximum = static_cast<int64_t>(range.maximum);
      EXPECT_THAT(range_errors(key, fmt::format("{}", minimum)), IsEmpty());
      EXPECT_THAT(range_errors(key, fmt::format("{}", maximum)), IsEmpty());
      EXPECT_EQ(range_errors(key, fmt::format("{}", minimum - 1)).size(), 1u);
      EXPECT_EQ(range_errors(key, fmt::format("{}", maximum + 1)).size(), 1u);
    }
    if (key.type == KeyType::kNumber) {
      const double infinity = std::numeric_limits<double>::infinity();
      const std::string below = fmt::format("{}", std::nextafter(range.minimum, -infinity));
      const std::string above = fmt::format("{}", std::nextafter(range.maximum, infinity));
      EXPECT_EQ(range_errors(key, fmt::format("{}", range.minimum)).size(), range.minimum_open ? 1u : 0u);
      EXPECT_EQ(range_errors(key, fmt::format("{}", range.maximum)).size(), range.maximum_open ? 1u : 0u);
      EXPECT_EQ(range_errors(key, below).size(), 1u);
      EXPECT_EQ(range_errors(key, above).size(), 1u);
    }
  }
}

TEST(ConfigKeys, NumbersThatAreNotFiniteAreRefused) {
  for (const ConfigKey& key : config_keys()) {
    if (key.type != KeyType::kNumber && key.type != KeyType::kInteger) continue;
    for (const char* value : {".nan", ".NaN", "nan", ".inf", "-.inf", "inf", "-Infinity", "1e999"}) {
      EXPECT_EQ(range_errors(key, value).size(), 1u) << key.full_name() << "=" << value;
    }
  }
}

TEST(ConfigKeys, EveryChoiceIsAcceptedAndNothingElse) {
  for (const ConfigKey& key : config_keys()) {
    if (key.type != KeyType::kChoice) continue;
    for (const std::string_view choice : key.choices) {
      EXPECT_THAT(range_errors(key, std::string(choice)), IsEmpty()) << key.full_name();
    }
    EXPECT_EQ(range_errors(key, "neither").size(), 1u) << key.full_name();
  }
}

TEST(ConfigKeys, NearestNames) {
  EXPECT_EQ(nearest_key_name("learning_rat"), "training.learning_rate");
  EXPECT_EQ(nearest_key_name("hidden_szie"), "model.hidden_size");
  EXPECT_EQ(nearest_key_name("gradient_acumulation_step"), "training.gradient_accumulation_steps");
  EXPECT_EQ(nearest_key_name("cutof_len"), "dataset.max_seq_len");  // an alias's typo leads to the key
  EXPECT_EQ(nearest_key_name("trainig.seed"), "training.seed");
  EXPECT_EQ(nearest_key_name("xyzzy_quux"), "");
  EXPECT_EQ(nearest_key_name(std::string(10000, 'a')), "");
  EXPECT_EQ(nearest_section_name("trainning"), "training");
}

TEST(ConfigKeys, TextsAreQuotedForYaml) {
  const ConfigKey& prompt = config_key("generation.prompt");
  EXPECT_EQ(key_value_text(prompt, KeyValue{std::string("a \"b\" \\ \n\x7f ä")}), "\"a \\\"b\\\" \\\\ \\x0a\\x7f ä\"");
}

// The committed page is what the table says.
TEST(ConfigurationDoc, CommittedPageIsUpToDate) {
  const std::string path = std::string(PENSTOCK_TEST_DATA) + "/../docs/configuration.md";
  if (std::getenv("PENSTOCK_UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << configuration_doc();
  std::ifstream file(path, std::ios::binary);
  std::stringstream committed;
  committed << file.rdbuf();
  EXPECT_EQ(committed.str(), configuration_doc()) << "rerun with PENSTOCK_UPDATE_GOLDEN=1";
}

TEST(ConfigurationDoc, NamesEveryKey) {
  const std::string doc = configuration_doc();
  for (const ConfigKey& key : config_keys()) EXPECT_THAT(doc, HasSubstr("\n| `" + key.name + "` | "));
}

}  // namespace
}  // namespace penstock
