#include "model/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/bf16.h"
#include "expect_error.h"
#include "model/safetensors_header.h"
#include "model/safetensors_writer.h"
#include "nlohmann/json.hpp"
#include "temporary_folder.h"

namespace penstock {
namespace {

std::string length_prefix(uint64_t bytes) { return {reinterpret_cast<const char*>(&bytes), sizeof(bytes)}; }

std::string file_bytes(const std::string& header, size_t data_bytes) {
  return length_prefix(header.size()) + header + std::string(data_bytes, '\0');
}

std::vector<float> read_all(const SafetensorsFile& file, const char* name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) return {};
  std::vector<float> values(entry->element_count);
  file.read_floats(*entry, 0, values);
  return values;
}

// Byte for byte what Python's safetensors package wrote for four small tensors.
std::string reference_file() {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"step":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("norm":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
      R"("proj":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},)"
      R"("half":{"dtype":"F16","shape":[5],"data_offsets":[28,38]}} )";
  const unsigned char data[] = {7,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0xc0, 0x3f, 0,
                                0,    0,    0x80, 0x80, 0x3f, 0,    0x40, 0x40, 0xc0, 0,    0x3f, 0x80, 0x43,
                                0x83, 0x3a, 0,    0x3c, 0,    0xc1, 1,    0,    0xff, 0x7b, 0xff, 0x03};
  return length_prefix(header.size()) + header + std::string(reinterpret_cast<const char*>(data), sizeof(data));
}

TEST(Safetensors, ReadsAFileOfTheReferencePackage) {
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.write("reference.safetensors", reference_file()));
  ASSERT_EQ(file.entries().size(), 4u);
  EXPECT_EQ(file.entries()[0].name, "step");
  EXPECT_EQ(file.entries()[3].name, "half");
  EXPECT_EQ(file.find("proj")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.find("proj")->dtype, "BF16");
  EXPECT_EQ(file.find("absent"), nullptr);
  const std::vector<float> norm = read_all(file, "norm");
  EXPECT_EQ(norm, (std::vector<float>{1.5f, -0.0f}));
  EXPECT_TRUE(std::signbit(norm[1]));
  EXPECT_EQ(read_all(file, "proj"), (std::vector<float>{1, 2, -3, 0.5, 256, 0.00099945068359375f}));
  EXPECT_EQ(read_all(file, "half"), (std::vector<float>{1, -2.5, 0x1p-24f, 65504, 1023 * 0x1p-24f}));
  int64_t step = 0;
  file.read_bytes(*file.find("step"), 0, std::as_writable_bytes(std::span(&step, 1)));
  EXPECT_EQ(step, 7);
  expect_error(ExitCode::kBadInput, {"reference.safetensors", "step", "I64"}, [&] { read_all(file, "step"); });
}

TEST(Safetensors, ReadsAPartOfATensor) {
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.write("reference.safetensors", reference_file()));
  std::vector<float> part(3);
  file.read_floats(*file.find("proj"), 2, part);
  EXPECT_EQ(part, (std::vector<float>{-3, 0.5, 256}));
}

// Every one of the 65536 patterns, against the definition of the format.
TEST(Safetensors, HalfPrecisionIsExact) {
  const TemporaryFolder folder;
  const SafetensorsSpec spec = {.name = "all", .dtype = "F16", .shape = {65536}};
  write_safetensors(folder.path("all"), std::span(&spec, 1), [](size_t, uint64_t first, std::span<std::byte> out) {
    for (size_t i = 0; i < out.size() / 2; ++i) {
      const auto bits = static_cast<uint16_t>(first + i);
      std::memcpy(&out[2 * i], &bits, 2);
    }
  });
  const std::vector<float> values = read_all(SafetensorsFile(folder.path("all")), "all");
  ASSERT_EQ(values.size(), 65536u);
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = (bits >> 10) & 31;
    const double fraction = bits & 1023;
    double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) expected = std::numeric_limits<double>::infinity();
    if (bits & 0x8000) expected = -expected;
    if (exponent == 31 && fraction != 0) {
      ASSERT_TRUE(std::isnan(values[bits])) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(values[bits]), expected) << bits;
      ASSERT_EQ(std::signbit(values[bits]), (bits & 0x8000) != 0) << bits;
    }
  }
}

std::string tensor(const std::string& name, const std::string& shape, uint64_t begin, uint64_t end,
                   const std::string& dtype = "F32") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

struct HostileFile {
  const char* what;
  std::string bytes;
  std::string part;  // of the message
};

std::vector<HostileFile> hostile_headers() {
  const std::string good = "{" + tensor("a", "[2]", 0, 8) + "}";
  return {
      {"header not JSON", file_bytes("{nope", 8), "JSON"},
      {"header a list", file_bytes("[]", 0), "JSON object"},
      {"header with a tail", file_bytes(good + "x", 8), "JSON"},
      {"NUL padding", file_bytes(good + std::string(3, '\0'), 8), "NUL"},
      {"broken UTF-8 in a name", file_bytes("{" + tensor("a\xff", "[2]", 0, 8) + "}", 8), "JSON"},
      {"newline in a name", file_bytes("{" + tensor("a\\n", "[3]", 0, 8) + "}", 8), "a\\n"},
      {"nested too deep", file_bytes(std::string(5000, '['), 0), "deeper"},
      {"tensor twice", file_bytes("{" + tensor("a", "[1]", 0, 4) + "," + tensor("a", "[1]", 4, 8) + "}", 8), "twice"},
      {"field twice", file_bytes(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
       "twice"},
      {"metadata not strings", file_bytes(R"({"__metadata__":{"x":1}})", 0), "__metadata__"},
      {"metadata a list", file_bytes(R"({"__metadata__":[]})", 0), "__metadata__"},
      {"entry not an object", file_bytes(R"({"a":7})", 0), "exactly dtype, shape and data_offsets"},
      {"dtype missing", file_bytes(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), "exactly"},
      {"field too many", file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8), "exactly"},
      {"dtype unknown", file_bytes("{" + tensor("a", "[2]", 0, 8, "F31") + "}", 8), "F31"},
      {"dtype a number", file_bytes(R"({"a":{"dtype":5,"shape":[2],"data_offsets":[0,8]}})", 8), "dtype must be"},
  };
}

std::vector<HostileFile> hostile_shapes() {
  return {
      {"shape no list", file_bytes("{" + tensor("a", "2", 0, 8) + "}", 8), "shape must be a list"},
      {"negative extent", file_bytes("{" + tensor("a", "[-2]", 0, 8) + "}", 8), "extent -2"},
      {"fractional extent", file_bytes("{" + tensor("a", "[2.0]", 0, 8) + "}", 8), "extent 2.0"},
      {"extent of text", file_bytes("{" + tensor("a", "[\"2\"]", 0, 8) + "}", 8), "extent"},
      {"extent over 64 bits", file_bytes("{" + tensor("a", "[99999999999999999999]", 0, 8) + "}", 8), "extent"},
      {"product wraps 64 bits to 2", file_bytes("{" + tensor("a", "[4294967296,4294967296,2]", 0, 8) + "}", 8),
       "absurdly large"},
      {"bytes wrap 64 bits", file_bytes("{" + tensor("a", "[4611686018427387904]", 0, 0) + "}", 0), "extent"},
      {"hidden behind a zero", file_bytes("{" + tensor("a", "[0,1152921504606846976,16]", 0, 0) + "}", 0),
       "absurdly large"},
      {"rank", file_bytes("{" + tensor("a", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", 0, 8) + "}", 8), "at most 16"},
  };
}

std::vector<HostileFile> hostile_offsets() {
  const auto two = [](const std::string& a, const std::string& b) { return "{" + a + "," + b + "}"; };
  return {
      {"offsets backwards", file_bytes("{" + tensor("a", "[2]", 8, 0) + "}", 8), "data_offsets"},
      {"offsets beyond the file", file_bytes("{" + tensor("a", "[2]", 8, 16) + "}", 8), "leave the file"},
      {"offsets huge", file_bytes("{" + tensor("a", "[2]", 18446744073709551608u, 18446744073709551615u) + "}", 8),
       "leave the file"},
      {"negative offset", file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8), "two non-neg"},
      {"one offset", file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}})", 8), "two non-negative"},
      {"three offsets", file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8), "two non-neg"},
      {"range not of the shape", file_bytes("{" + tensor("a", "[2]", 0, 4) + "}", 4), "takes 8"},
      {"range not of the dtype", file_bytes("{" + tensor("a", "[2]", 0, 8, "BF16") + "}", 8), "takes 4"},
      {"gap in front", file_bytes("{" + tensor("a", "[1]", 4, 8) + "}", 8), "a gap"},
      {"gap between", file_bytes(two(tensor("a", "[1]", 0, 4), tensor("b", "[1]", 8, 12)), 12), "a gap"},
      {"overlap", file_bytes(two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 4, 12)), 12), "an overlap"},
      {"same bytes twice", file_bytes(two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 0, 8)), 8), "an overlap"},
      {"data behind the last tensor", file_bytes("{" + tensor("a", "[1]", 0, 4) + "}", 8), "the file has"},
      {"data without tensors", file_bytes("{}", 8), "the file has"},
  };
}

std::vector<HostileFile> hostile_lengths() {
  const std::string good = "{" + tensor("a", "[2]", 0, 8) + "}";
  return {
      {"empty file", "", "0 bytes"},
      {"half a prefix", "abcd", "4 bytes"},
      {"prefix alone", length_prefix(2), "header of 2 bytes"},
      {"empty header", length_prefix(0), "JSON"},
      {"header longer than the file", length_prefix(1000) + good, "header of 1000 bytes"},
      {"header of 2^64 - 1 bytes", length_prefix(~uint64_t{0}) + good, "header of 18446744073709551615 bytes"},
  };
}

TEST(Safetensors, RefusesHostileFiles) {
  const TemporaryFolder folder;
  for (const auto& table : {hostile_headers(), hostile_shapes(), hostile_offsets(), hostile_lengths()}) {
    for (const HostileFile& hostile : table) {
      SCOPED_TRACE(hostile.what);
      const std::string path = folder.write("hostile.safetensors", hostile.bytes);
      expect_error(ExitCode::kBadInput, {"hostile.safetensors", hostile.part}, [&] { SafetensorsFile file(path); });
    }
  }
}

TEST(Safetensors, RefusesEveryTruncationAndEveryTail) {
  const TemporaryFolder folder;
  const std::string whole = reference_file();
  for (size_t length = 0; length < whole.size(); ++length) {
    SCOPED_TRACE(length);
    const std::string path = folder.write("cut", whole.substr(0, length));
    expect_error(ExitCode::kBadInput, {"cut"}, [&] { SafetensorsFile file(path); });
  }
  const std::string path = folder.write("tail", whole + "x");
  expect_error(ExitCode::kBadInput, {"tail"}, [&] { SafetensorsFile file(path); });
}

// In a (sparse) file that is large enough for it.
TEST(Safetensors, RefusesAHeaderOverTheLimit) {
  const TemporaryFolder folder;
  const std::string path = folder.write("long", length_prefix(100'000'001) + "{}");
  std::filesystem::resize_file(path, 100'000'100);
  expect_error(ExitCode::kBadInput, {"long", "limit 100000000"}, [&] { SafetensorsFile file(path); });
}

// No single changed byte may crash the reader or make it read outside the file.
TEST(Safetensors, SurvivesEveryChangedByte) {
  const TemporaryFolder folder;
  const std::string whole = reference_file();
  for (size_t i = 0; i < whole.size() - 38; ++i) {
    for (const unsigned char flip : {0x01, 0x10, 0x80}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) ^ flip);
      const std::string path = folder.write("changed", bytes);
      try {
        const SafetensorsFile file(path);
        for (const SafetensorsEntry& entry : file.entries()) {
          std::vector<std::byte> out(entry.byte_count);
          file.read_bytes(entry, 0, out);
        }
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ExitCode::kBadInput) << "byte " << i << ": " << error.what();
      }
    }
  }
}

TEST(Safetensors, AcceptsEmptyTensorsAndScalars) {
  const TemporaryFolder folder;
  const std::string header = "{" + tensor("z", "[3,0]", 4, 4) + "," + tensor("s", "[]", 0, 4) + "," +
                             tensor("a", "[1]", 4, 8) + "," + tensor("e", "[0]", 8, 8) + "}   ";
  const SafetensorsFile file(folder.write("empty", file_bytes(header, 8)));
  EXPECT_EQ(file.find("z")->element_count, 0u);
  EXPECT_EQ(file.find("s")->element_count, 1u);
  EXPECT_EQ(read_all(file, "a"), std::vector<float>{0.0f});
}

TEST(Safetensors, AFileThatShrinksWhileOpenIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder.write("shrinks", reference_file());
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, reference_file().size() - 4);
  expect_error(ExitCode::kIo, {"shrinks", "early"}, [&] { read_all(file, "half"); });
}

TEST(Safetensors, NamesThePathThatCannotBeOpened) {
  const TemporaryFolder folder;
  expect_error(ExitCode::kBadInput, {folder.path("absent"), "No such file"},
               [&] { SafetensorsFile file(folder.path("absent")); });
  expect_error(ExitCode::kBadInput, {"not a regular file"}, [&] { SafetensorsFile file(folder.path("")); });
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);  // must not hang either
  expect_error(ExitCode::kBadInput, {"pipe", "not a regular file"}, [&] { SafetensorsFile file(folder.path("pipe")); });
}

// A value that tells tensor and element apart and that bf16 holds exactly; 251 is prime, so shifts show.
float marked_value(size_t index, uint64_t element) { return static_cast<float>((index * 50 + element) % 251); }

void fill_marked(const std::string& dtype, size_t index, uint64_t first, std::span<std::byte> out) {
  const uint64_t width = safetensors_element_bytes(dtype);
  for (uint64_t i = 0; i < out.size() / width; ++i) {
    const float value = marked_value(index, first + i);
    const bf16_bits half = bf16_from_float(value);
    std::memcpy(&out[i * width], dtype == "F32" ? static_cast<const void*>(&value) : &half, width);
  }
}

TEST(SafetensorsWriter, RoundTripThroughSeveralBuffers) {
  const TemporaryFolder folder;
  const std::vector<SafetensorsSpec> specs = {
      {.name = "z.small", .dtype = "BF16", .shape = {3}},
      {.name = "big", .dtype = "F32", .shape = {1031, 2053}},  // 8.07 MiB: three buffers, the last one partly
      {.name = "a\"quoted", .dtype = "F32", .shape = {1}},
      {.name = "half", .dtype = "BF16", .shape = {5, 1, 7}},
  };
  const std::string path = folder.path("out.safetensors");
  write_safetensors(path, specs, [&](size_t index, uint64_t first, std::span<std::byte> out) {
    fill_marked(specs[index].dtype, index, first, out);
  });
  const SafetensorsFile file(path);
  ASSERT_EQ(file.entries().size(), specs.size());
  for (size_t index = 0; index < specs.size(); ++index) {
    EXPECT_EQ(file.entries()[index].name, specs[index].name);  // in the given order
    EXPECT_EQ(file.entries()[index].shape, specs[index].shape);
    const std::vector<float> values = read_all(file, specs[index].name.c_str());
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], marked_value(index, i)) << index << " " << i;
  }
  EXPECT_EQ(folder.entry_count(), 1u);
}

// What passes through an export: any type, scalars, tensors without elements.
TEST(SafetensorsWriter, WritesEveryTypeThatIsRead) {
  const TemporaryFolder folder;
  std::vector<SafetensorsSpec> specs = {{.name = "none", .dtype = "I64", .shape = {3, 0}}};
  for (const char* dtype : {"BOOL", "U8", "F8_E4M3", "I16", "F16", "I32", "F64", "C64", "U64"}) {
    specs.push_back({.name = dtype, .dtype = dtype, .shape = {3, 5}});
  }
  specs.push_back({.name = "scalar", .dtype = "I64", .shape = {}});
  write_safetensors(folder.path("out"), specs, [&](size_t index, uint64_t, std::span<std::byte> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(index * 16 + i % 16);
  });
  const SafetensorsFile file(folder.path("out"));
  ASSERT_EQ(file.entries().size(), specs.size());
  for (size_t index = 0; index < specs.size(); ++index) {
    const SafetensorsEntry& entry = *file.find(specs[index].name);
    EXPECT_EQ(entry.dtype, specs[index].dtype);
    EXPECT_EQ(entry.shape, specs[index].shape);
    EXPECT_EQ(entry.byte_count, safetensors_bytes(specs[index]));
    std::vector<std::byte> bytes(entry.byte_count);
    file.read_bytes(entry, 0, bytes);
    for (size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], static_cast<std::byte>(index * 16 + i % 16));
  }
}

TEST(SafetensorsWriter, DataStartsOnA4096ByteBorderWhateverTheHeaderLength) {
  const TemporaryFolder folder;
  for (size_t name_length = 3990; name_length < 4020; ++name_length) {  // the JSON alone reaches 4096 bytes at 4012
    const SafetensorsSpec spec = {.name = std::string(name_length, 'n'), .dtype = "F32", .shape = {1}};
    write_safetensors(folder.path("out"), std::span(&spec, 1),
                      [](size_t index, uint64_t first, auto out) { fill_marked("F32", index, first, out); });
    const SafetensorsFile file(folder.path("out"));
    EXPECT_EQ(file.entries()[0].file_offset % 4096, 0u) << name_length;
    EXPECT_LT(file.entries()[0].file_offset, name_length + 200 + 4096) << name_length;
  }
}

TEST(SafetensorsWriter, HeaderOpensAtByteEightWithMetadata) {
  const TemporaryFolder folder;
  write_safetensors(folder.path("out"), {}, [](size_t, uint64_t, std::span<std::byte>) {});
  const std::string bytes = TemporaryFolder::read(folder.path("out"));
  ASSERT_EQ(bytes.size(), 4096u);
  EXPECT_EQ(bytes.substr(8, 33), R"({"__metadata__":{"format":"pt"}} )");
  EXPECT_EQ(bytes.back(), ' ');
}

TEST(SafetensorsWriter, AFailingSourceLeavesTheOldFileAndNoTemporary) {
  const TemporaryFolder folder;
  const std::string path = folder.write("out", "old");
  const SafetensorsSpec spec = {.name = "a", .dtype = "F32", .shape = {4}};
  expect_error(ExitCode::kNumericStop, {"stop"}, [&] {
    write_safetensors(path, std::span(&spec, 1),
                      [](size_t, uint64_t, std::span<std::byte>) { throw Error(ExitCode::kNumericStop, "stop"); });
  });
  EXPECT_EQ(TemporaryFolder::read(path), "old");
  EXPECT_EQ(folder.entry_count(), 1u);
}

TEST(SafetensorsWriter, NamesThePathThatCannotBeWritten) {
  const TemporaryFolder folder;
  const auto nothing = [](size_t, uint64_t, std::span<std::byte>) {};
  expect_error(ExitCode::kIo, {"absent/out.tmp", "cannot create", "No such file"},
               [&] { write_safetensors(folder.path("absent/out"), {}, nothing); });
  std::filesystem::create_directory(folder.path("taken"));
  expect_error(ExitCode::kIo, {"taken", "cannot rename", "Is a directory"},
               [&] { write_safetensors(folder.path("taken"), {}, nothing); });
  // A device that is always full stands in for a full disk.
  std::filesystem::create_symlink("/dev/full", folder.path("full.tmp"));
  expect_error(ExitCode::kIo, {"full.tmp", "cannot write", "No space left"},
               [&] { write_safetensors(folder.path("full"), {}, nothing); });
}

}  // namespace
}  // namespace penstock
