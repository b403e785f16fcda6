#include "data/text_helper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "bad_input.h"
#include "core/file.h"
#include "data/text_encoder.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

// What a helper says first.
constexpr const char* kFacts = R"(echo '{"vocabulary_size": 9, "bos": null, "eos": 7, "stop": [8, 7]}')";

class TextHelperTest : public ::testing::Test {
 protected:
  ~TextHelperTest() override {
    for (const char* name : {"PENSTOCK_PYTHON", "PENSTOCK_TEXT_HELPER"}) ::unsetenv(name);
  }

  // A shell script in the place of Python and the real script.
  HelperCommand fake(const std::string& script) const { return {"/bin/sh", folder_.write("fake.sh", script)}; }
  HelperCommand fake_after_facts(const std::string& script) const {
    return fake(std::string(kFacts) + "\n" + script + "\n");
  }

  // The one line of an Error(kIo).
  template <typename Call>
  static std::string io_error_of(Call&& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kIo) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

  std::string file(const std::string& name) const { return read_text_file(folder_.path(name), 1 << 24); }

  TemporaryFolder folder_;
  const std::vector<std::string> one_text_ = {"some text"};
};

TEST_F(TextHelperTest, ReadsTheFacts) {
  const TextHelper helper(fake_after_facts("read line"), "model");
  EXPECT_EQ(helper.facts().vocabulary_size, 9);
  EXPECT_EQ(helper.facts().bos, std::nullopt);
  EXPECT_EQ(helper.facts().eos, 7);
  EXPECT_THAT(helper.facts().stop_tokens, ElementsAre(8, 7));
}

TEST_F(TextHelperTest, AsksWithTheTextAsItIs) {
  const std::string asked = folder_.path("asked");
  TextHelper helper(fake_after_facts("IFS= read -r line; printf '%s\\n' \"$line\" >" + asked + R"(
      echo '{"ids": [1, 2], "more": false}'; echo '{"ids": [], "more": false}'
      IFS= read -r line; printf '%s\n' "$line" >)" +
                                     asked + R"(2; printf '%s\n' '{"text": "h\u00e9\n"}')"),
                    "model");
  const std::vector<std::string> texts = {"a \"b\" \\ \n\t\x01 h\xc3\xa9", ""};
  EXPECT_THAT(helper.encode(texts, true), ElementsAre(ElementsAre(1, 2), ElementsAre()));
  const nlohmann::json request = nlohmann::json::parse(file("asked"));
  EXPECT_EQ(request, nlohmann::json({{"encode", texts}, {"special_tokens", true}}));
  EXPECT_EQ(helper.decode(std::vector<int32_t>{3, 4}, std::vector<int32_t>{}, false), "h\xc3\xa9\n");
  EXPECT_EQ(nlohmann::json::parse(file("asked2")),
            nlohmann::json::parse(R"({"decode": [3, 4], "after": [], "skip_special_tokens": false})"));
}

TEST_F(TextHelperTest, JoinsTheIdsOfALongText) {
  TextHelper helper(fake_after_facts(R"(read line
      echo '{"ids": [1], "more": true}'; echo '{"ids": [], "more": true}'; echo '{"ids": [2], "more": false}'
      echo '{"ids": [3], "more": false}')"),
                    "model");
  EXPECT_THAT(helper.encode(std::vector<std::string>{"long", "short"}, false),
              ElementsAre(ElementsAre(1, 2), ElementsAre(3)));
}

TEST_F(TextHelperTest, WhatTheHelperRefusesIsBadInput) {
  const HelperCommand at_start = fake("echo '{\"error\": \"model: no tokenizer.json\"}'");
  EXPECT_EQ(bad_input_of([&] { TextHelper(at_start, "model"); }), "model: no tokenizer.json");
  TextHelper helper(fake_after_facts("read line; echo '{\"error\": \"cannot\"}'; exit 65"), "model");
  EXPECT_EQ(bad_input_of([&] { helper.encode(one_text_, true); }), "cannot");
}

TEST_F(TextHelperTest, AHelperThatEndsGivesItsLastWords) {
  const HelperCommand at_start = fake("echo first >&2; echo 'no such module' >&2; echo >&2; exit 3");
  const std::string message = io_error_of([&] { TextHelper(at_start, "model"); });
  EXPECT_THAT(message, HasSubstr("fake.sh model) ended with exit code 3"));
  EXPECT_THAT(message, EndsWith(": no such module"));
  TextHelper killed(fake_after_facts("read line; kill -9 $$"), "model");
  EXPECT_THAT(io_error_of([&] { killed.encode(one_text_, true); }), EndsWith("was ended by signal 9"));
  TextHelper halfway(fake_after_facts("read line; printf '{\"ids\": [1'"), "model");
  EXPECT_THAT(io_error_of([&] { halfway.encode(one_text_, true); }), EndsWith("ended with exit code 0"));
}

TEST_F(TextHelperTest, AHelperThatEndsWhileItIsWrittenToIsNoSignal) {
  const std::vector<std::string> large = {std::string(size_t{8} << 20, 'x')};
  for (const char* script : {"exit 0", "head -c 100000 >/dev/null; exit 0"}) {
    TextHelper helper(fake_after_facts(script), "model");
    EXPECT_THAT(io_error_of([&] { helper.encode(large, true); }), EndsWith("ended with exit code 0")) << script;
  }
}

TEST_F(TextHelperTest, WhatIsNotTheProtocolIsRefused) {
  for (const char* line : {"hello", "[1]", "{}", "{\"ids\": 5, \"more\": false}", "{\"ids\": [\"a\"], \"more\": false}",
                           "{\"ids\": [-1], \"more\": false}", "{\"ids\": [2147483648], \"more\": false}",
                           "{\"ids\": [1]}", "{\"text\": \"a\"}"}) {
    TextHelper helper(fake_after_facts("read line; echo '" + std::string(line) + "'; read line"), "model");
    EXPECT_THAT(io_error_of([&] { helper.encode(one_text_, true); }), HasSubstr("of model answered '")) << line;
  }
  EXPECT_THAT(io_error_of([&] { TextHelper(fake("echo; echo"), "model"); }), HasSubstr("answered ''"));
  EXPECT_THAT(io_error_of([&] { TextHelper(fake("printf '\\033[1m\\n'"), "model"); }), HasSubstr("answered '?[1m'"));
  TextHelper silent(fake_after_facts("read line; echo '{\"text\": 1}'"), "model");
  EXPECT_THAT(io_error_of([&] { silent.decode({}, {}, true); }), HasSubstr("answered '"));
}

TEST_F(TextHelperTest, AHelperThatSpeaksOutOfTurnIsRefused) {
  // One write, so that both lines are there when the first is read.
  TextHelper helper(
      fake(R"(printf '{"vocabulary_size": 9, "bos": 1, "eos": null, "stop": []}\n{"ids": []}\n'; read l)"), "model");
  EXPECT_THAT(io_error_of([&] { helper.encode(one_text_, true); }), HasSubstr("out of turn"));
}

TEST_F(TextHelperTest, TheProcessEndsWithTheObject) {
  pid_t process = 0;
  {
    const TextHelper helper(
        fake("echo $$ >" + folder_.path("pid") + "; " + kFacts + "; exec 0<&- 1>&-; exec sleep 1000"), "model");
    process = std::stoi(file("pid"));
    EXPECT_EQ(::kill(process, 0), 0);
    EXPECT_NE(::getpgid(process), ::getpgrp());  // Ctrl-C is ours alone
  }
  EXPECT_EQ(::kill(process, 0), -1);  // not even a zombie
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(TextHelperTest, AHelperDoesNotInheritTheSocketOfAnother) {
  const std::string count =
      "ls -l /proc/$$/fd | grep -c socket >" + folder_.path("sockets") + "; " + kFacts + "; read l";
  const TextHelper first(fake(count), "model");
  const std::string alone = file("sockets");
  const TextHelper second(fake(count), "model");
  EXPECT_EQ(file("sockets"), alone);
}

TEST_F(TextHelperTest, APythonThatIsNotThereIsNamed) {
  const std::string message = bad_input_of([&] { TextHelper({"/nowhere/python", "x.py"}, "model"); });
  EXPECT_THAT(message, HasSubstr("'/nowhere/python'"));
  EXPECT_THAT(message, HasSubstr("PENSTOCK_PYTHON"));
}

TEST_F(TextHelperTest, PythonIsTheVirtualEnvironmentsBesideTheScript) {
  const std::string script = folder_.write("scripts/text_helper.py", "");
  ::setenv("PENSTOCK_TEXT_HELPER", script.c_str(), 1);
  EXPECT_EQ(find_text_helper().script, script);
  EXPECT_EQ(find_text_helper().python, "python3");
  const std::string python = folder_.write(".venv/bin/python", "");
  EXPECT_EQ(find_text_helper().python, python);
  ::setenv("PENSTOCK_PYTHON", "/other/python", 1);
  EXPECT_EQ(find_text_helper().python, "/other/python");
}

// Documents end with the tokenizer's EOS, unless they already end with one of those that the model stops at.
TEST_F(TextHelperTest, DocumentsGetTheEosTheyDoNotHave) {
  const auto encode = [&](const std::string& facts, const std::vector<int32_t>& model_eos) {
    const HelperCommand command = fake("echo '" + facts + R"('; read line
        for ids in 1,2 1,7 5 ''; do echo "{\"ids\": [$ids], \"more\": false}"; done)");
    ::setenv("PENSTOCK_PYTHON", command.python.c_str(), 1);
    ::setenv("PENSTOCK_TEXT_HELPER", command.script.c_str(), 1);
    return start_model_encoder("model", model_eos)->encode_documents(std::vector<std::string>{"a", "b", "c", "d"});
  };
  const std::string with_eos = R"({"vocabulary_size": 9, "bos": null, "eos": 7, "stop": [5]})";
  EXPECT_THAT(encode(with_eos, {3}),
              ElementsAre(ElementsAre(1, 2, 7), ElementsAre(1, 7), ElementsAre(5), ElementsAre(7)));
  const std::string without = R"({"vocabulary_size": 9, "bos": null, "eos": null, "stop": []})";
  EXPECT_THAT(encode(without, {3, 5}),
              ElementsAre(ElementsAre(1, 2, 3), ElementsAre(1, 7, 3), ElementsAre(5), ElementsAre(3)));
  EXPECT_THAT(encode(without, {}), ElementsAre(ElementsAre(1, 2), ElementsAre(1, 7), ElementsAre(5), ElementsAre()));
}

}  // namespace
}  // namespace penstock
