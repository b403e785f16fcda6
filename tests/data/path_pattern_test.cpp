#include "data/path_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bad_input.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;

struct MatchCase {
  const char* pattern;
  const char* name;
  bool matches;
};

TEST(PathPattern, ComponentTable) {
  const MatchCase kCases[] = {
      {"a.py", "a.py", true},
      {"a.py", "b.py", false},
      {"a.py", "a.pyc", false},
      {"*", "anything", true},
      {"*", "x", true},
      {"*", ".hidden", false},
      {".*", ".hidden", true},
      {"?hidden", ".hidden", false},
      {"[.]hidden", ".hidden", false},
      {"*.py", "a.py", true},
      {"*.py", ".py", false},
      {"*.py", "a.pyc", false},
      {"*.py", "a.py.py", true},
      {"a*b*c", "aXbYbZc", true},
      {"a*b*c", "aXbYbZ", false},
      {"a*", "a", true},
      {"**", "ab", true},
      {"*a*", "bbb", false},
      {"*ab", "aab", true},
      {"*aab", "aaaab", true},
      {"a**b", "ab", true},
      {"?", "a", true},
      {"?", "", false},
      {"?", "ab", false},
      {"?", "\xc3\xa9", true},
      {"a?c",
       "a\xe2\x82\xac"
       "c",
       true},
      {"??", "\xc3\xa9", false},
      {"[a-c]", "-", false},
      {"ab*b", "ab", false},
      {"ab*b", "abb", true},
      {"[abc]x", "bx", true},
      {"[abc]x", "dx", false},
      {"[a-c]x", "cx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[!a-c]x", "ax", false},
      {"[^a]", "b", true},
      {"[^a]", "a", false},
      {"[]]", "]", true},
      {"[!]]", "]", false},
      {"[!]]", "a", true},
      {"[a-]", "-", true},
      {"[a-]", "b", false},
      {"[", "[", true},
      {"[a", "[a", true},
      {"x[", "xa", false},
      {"python3*", "python3.11", true},
      {"*[0-9]", "a1", true},
      {"*[0-9]", "a1b", false},
      {"[a-cx-z]", "y", true},
      {"[a-cx-z]", "m", false},
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"a]b", "a]b", true},
      {"{a}", "{a}", true},
  };
  for (const MatchCase& c : kCases) {
    EXPECT_EQ(matches_component(c.pattern, c.name), c.matches) << c.pattern << " against " << c.name;
  }
}

TEST(PathPattern, ManyStarsStayFast) {
  std::string pattern;
  for (int i = 0; i < 40; ++i) pattern += "a*";
  EXPECT_FALSE(matches_component(pattern + "b", std::string(4000, 'a')));  // exponential when every star backtracks
}

TEST(PathPattern, Braces) {
  EXPECT_THAT(expand_braces("a"), ElementsAre("a"));
  EXPECT_THAT(expand_braces("x{b,a}y"), ElementsAre("xby", "xay"));
  EXPECT_THAT(expand_braces("{a,b}{1,2}"), ElementsAre("a1", "a2", "b1", "b2"));
  EXPECT_THAT(expand_braces("{a,b{c,d}}/e"), ElementsAre("a/e", "bc/e", "bd/e"));
  EXPECT_THAT(expand_braces("{a/b,c}/*"), ElementsAre("a/b/*", "c/*"));
  EXPECT_THAT(expand_braces("a{,b}"), ElementsAre("a", "ab"));
  EXPECT_THAT(expand_braces("{a}"), ElementsAre("{a}"));
  EXPECT_THAT(expand_braces("{a{b,c}}"), ElementsAre("{ab}", "{ac}"));
  EXPECT_THAT(expand_braces("{a,b"), ElementsAre("{a,b"));
  EXPECT_THAT(expand_braces("a,b}"), ElementsAre("a,b}"));
  EXPECT_THAT(expand_braces("{}"), ElementsAre("{}"));
  EXPECT_THAT(expand_braces("{a}{b,c}"), ElementsAre("{a}b", "{a}c"));
}

TEST(PathPattern, TooManyAlternativesAreRefused) {
  std::string pattern;
  for (int i = 0; i < 12; ++i) pattern += "{a,b}";
  EXPECT_EQ(expand_braces(pattern).size(), 4096u);
  pattern += "{a,b}";
  EXPECT_EQ(bad_input_of([&] { expand_braces(pattern); }),
            "pattern " + pattern + " has more than 4096 alternatives: use `*` instead of braces");
}

TEST(PathPattern, Wildcards) {
  for (const char* component : {"*", "a?", "[ab]", "x[!a]", "**"}) EXPECT_TRUE(has_wildcard(component)) << component;
  for (const char* component : {"", "a", "{a,b}", "[", "[]", "a]", "[!]"})
    EXPECT_FALSE(has_wildcard(component)) << component;
}

}  // namespace
}  // namespace penstock
