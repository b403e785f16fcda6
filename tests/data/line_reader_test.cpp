#include "data/line_reader.h"

#include <gtest/gtest.h>

#include "bad_input.h"
#include "core/random.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

// Against a split by std::string::find, for random lines and pieces shorter and longer than a line.
TEST(LineReader, LinesDoNotDependOnThePieces) {
  const TemporaryFolder folder;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const CounterRandom random(seed, 0);
    std::string text;
    const uint64_t size = random.below(0, 60);
    for (uint64_t i = 0; i < size; ++i) text.push_back(random.below(1 + i, 4) == 0 ? '\n' : 'x');
    std::vector<std::string> expected;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      expected.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    const std::string path = folder.write("lines", text);
    for (const size_t piece : {1, 2, 3, 7, 100}) {
      LineReader reader(path, piece);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(reader.next(), expected[i]);
        ASSERT_EQ(reader.line_number(), static_cast<int64_t>(i + 1));
      }
      ASSERT_EQ(reader.next(), std::nullopt);
      ASSERT_EQ(reader.next(), std::nullopt);
    }
  }
}

TEST(LineReader, SkipsTheByteOrderMarkOnly) {
  const TemporaryFolder folder;
  for (const size_t piece : {1, 2, 100}) {
    LineReader marked(folder.write("a", "\xef\xbb\xbfx\n\xef\xbb\xbfy"), piece);
    EXPECT_EQ(marked.next(), "x");
    EXPECT_EQ(marked.next(), "\xef\xbb\xbfy");
    LineReader part_of_a_mark(folder.write("b", "\xef\xbb"), piece);
    EXPECT_EQ(part_of_a_mark.next(), "\xef\xbb");
  }
}

}  // namespace
}  // namespace penstock
