#include <vector>

#include "hostile_case.h"
#include "model/safetensors.h"
#include "temporary_folder.h"

namespace penstock {
namespace {

std::string length_prefix(uint64_t bytes) { return {reinterpret_cast<const char*>(&bytes), sizeof(bytes)}; }

// One tensor of the header, every part as text so that it can be anything.
struct Field {
  std::string name, dtype, rows, columns, begin, end;

  std::string text() const {
    return "\"" + name + "\":{\"dtype\":" + dtype + ",\"shape\":[" + rows + "," + columns + "],\"data_offsets\":[" +
           begin + "," + end + "]}";
  }
};

constexpr size_t kDataBytes = 8 + 12 + 24;

std::vector<Field> good_fields() {
  return {{"a", "\"F32\"", "1", "2", "0", "8"},
          {"b", "\"BF16\"", "2", "3", "8", "20"},
          {"c", "\"I64\"", "3", "1", "20", "44"}};
}

std::string file_of(const std::vector<Field>& fields, const std::string& front = "") {
  std::string header = "{" + front;
  for (const Field& field : fields) header += (header.size() > 1 ? "," : "") + field.text();
  header += "}";
  return length_prefix(header.size()) + header + std::string(kDataBytes, '\1');
}

class HostileHeader : public testing::Test {
 protected:
  void refuse(const std::string& what, const std::string& bytes) {
    const std::string path = folder_.write("hostile.safetensors", bytes);
    cases_.refuse(what, bytes.size(), [&] { SafetensorsFile file(path); });
  }
  TemporaryFolder folder_;
  HostileCases cases_;
};

TEST_F(HostileHeader, TheFileTheyAreMadeFromIsGood) {
  const SafetensorsFile file(folder_.write("good.safetensors", file_of(good_fields())));
  EXPECT_EQ(file.entries().size(), 3u);
}

TEST_F(HostileHeader, CutAtEveryByteAndEveryTensorEdge) {
  const std::string whole = file_of(good_fields());
  for (size_t length = 0; length < whole.size(); ++length) {
    refuse("cut at " + std::to_string(length), whole.substr(0, length));
  }
  refuse("a tail", whole + "x");
  EXPECT_GE(cases_.count(), 200);
}

TEST_F(HostileHeader, EveryNumberReplaced) {
  const std::vector<std::string> numbers = {"-1",
                                            "9223372036854775807",
                                            "9223372036854775808",
                                            "18446744073709551615",
                                            "18446744073709551616",
                                            "4294967296",
                                            "2147483648",
                                            "1e400",
                                            "1e3",
                                            "7.5",
                                            "-0",
                                            "null",
                                            "true",
                                            "\"1\"",
                                            "[1]",
                                            "{}",
                                            "NaN",
                                            "Infinity",
                                            "0x1",
                                            "01",
                                            "+1",
                                            "",
                                            "17"};
  std::string Field::*const parts[] = {&Field::rows, &Field::columns, &Field::begin, &Field::end};
  for (size_t tensor = 0; tensor < 3; ++tensor) {
    for (const auto part : parts) {
      for (const std::string& number : numbers) {
        std::vector<Field> fields = good_fields();
        fields[tensor].*part = number;
        refuse("tensor " + std::to_string(tensor) + " with " + number, file_of(fields));
      }
    }
  }
  EXPECT_EQ(cases_.count(), 3 * 4 * static_cast<int>(numbers.size()));
}

TEST_F(HostileHeader, EveryDtypeReplaced) {
  for (size_t tensor = 0; tensor < 3; ++tensor) {
    for (const char* dtype : {"\"F4\"", "\"F31\"", "\"f32\"", "\"\"", "\"BOOL\"", "\"F8_E4M3\"", "null", "4",
                              "[\"F32\"]", "\"F32\\n\"", "\"C128\"", "\"F16\\u0000\""}) {
      std::vector<Field> fields = good_fields();
      fields[tensor].dtype = dtype;
      refuse(std::string("dtype ") + dtype, file_of(fields));
    }
  }
  EXPECT_EQ(cases_.count(), 36);
}

TEST_F(HostileHeader, RangesThatDoNotTileAndNamesTwice) {
  for (size_t first = 0; first < 3; ++first) {
    std::vector<Field> missing = good_fields();
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(first));
    refuse("missing tensor", file_of(missing));
    for (size_t second = 0; second < 3; ++second) {
      if (first == second) continue;
      std::vector<Field> fields = good_fields();
      std::swap(fields[first].begin, fields[second].begin);
      std::swap(fields[first].end, fields[second].end);
      refuse("swapped ranges", file_of(fields));
      fields = good_fields();
      fields[first] = fields[second];
      refuse("the same tensor twice", file_of(fields));
      fields[first].name = "other";
      refuse("the same range twice", file_of(fields));
    }
  }
  EXPECT_EQ(cases_.count(), 3 + 6 * 3);
}

TEST_F(HostileHeader, LengthsThatLie) {
  const std::string whole = file_of(good_fields());
  const uint64_t header = whole.size() - kDataBytes - 8;
  const std::string rest = whole.substr(8);
  for (const uint64_t length :
       {uint64_t{0}, uint64_t{1}, header - 1, header + 1, header + kDataBytes, header + kDataBytes + 1,
        uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 62, uint64_t{1} << 63, (uint64_t{1} << 63) - 8,
        ~uint64_t{0}, ~uint64_t{0} - 7, uint64_t{100'000'000}, uint64_t{100'000'001}}) {
    refuse("header length " + std::to_string(length), length_prefix(length) + rest);
  }
  EXPECT_EQ(cases_.count(), 15);
}

TEST_F(HostileHeader, NestingNamesAndMetadata) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  std::string deep_objects;
  for (int i = 0; i < 100; ++i) deep_objects += "{\"x\":";
  deep_objects += "1" + std::string(100, '}');
  for (const std::string& value : {deep, deep_objects, std::string(100, '[')}) {
    refuse("deep entry", file_of(good_fields(), "\"deep\":" + value));
    refuse("deep metadata", file_of(good_fields(), "\"__metadata__\":{\"x\":" + value + "}"));
    std::vector<Field> fields = good_fields();
    fields[1].rows = value;
    refuse("deep shape", file_of(fields));
    refuse("deep root", length_prefix(value.size()) + value);
  }
  for (const char* metadata :
       {"[]", "\"pt\"", "7", "{\"format\":null}", "{\"format\":{}}", "{\"a\":\"1\",\"a\":\"2\"}"}) {
    refuse("metadata", file_of(good_fields(), std::string("\"__metadata__\":") + metadata));
  }
  // Names that would break the line or flood it, on an entry that is refused.
  for (const std::string& name : {std::string("a\\nb"), std::string("\\u0000"), std::string("\\r\\n\\u001b[2J"),
                                  std::string(20'000, 'n'), std::string("\\u2028")}) {
    std::vector<Field> fields = good_fields();
    fields[1].name = name;
    fields[1].rows = "5";
    refuse("name", file_of(fields));
    refuse("name twice", file_of(good_fields(), "\"" + name + "\":1,\"" + name + "\":2"));
  }
  refuse("broken UTF-8", file_of(good_fields(), "\"\xff\xfe\":1"));
  EXPECT_EQ(cases_.count(), 12 + 6 + 10 + 1);
}

}  // namespace
}  // namespace penstock
