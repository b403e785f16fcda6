#include <algorithm>
#include <optional>
#include <vector>

#include "core/check.h"
#include "core/error.h"
#include "fmt/format.h"
#include "model/config_json.h"
#include "model/strict_json.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

// Where the members of one object lie in the text. The text has been parsed, so it is valid JSON.
struct Member {
  std::string key;
  size_t value_begin, value_end;
};

struct ObjectText {
  size_t first_key;  // of the first member, behind the white space that opens it
  size_t begin;      // of the object: its brace
  std::vector<Member> members;
};

size_t skip_space(std::string_view text, size_t at) {
  const size_t found = text.find_first_not_of(" \t\r\n", at);
  CHECK(found != std::string_view::npos);
  return found;
}

// `at` is the opening quote; returns the position behind the closing one.
size_t string_end(std::string_view text, size_t at) {
  for (++at; text.at(at) != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

// Returns the position behind the value that begins at `at`.
size_t value_end(std::string_view text, size_t at) {
  if (text[at] == '"') return string_end(text, at);
  if (text[at] != '{' && text[at] != '[') return std::min(text.find_first_of(" \t\r\n,]}", at), text.size());
  int depth = 0;
  do {
    if (text.at(at) == '"') {
      at = string_end(text, at);
      continue;
    }
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

ObjectText object_text(std::string_view text, size_t begin) {
  CHECK(text.at(begin) == '{');
  ObjectText object{.first_key = skip_space(text, begin + 1), .begin = begin, .members = {}};
  size_t at = object.first_key;
  while (text[at] != '}') {
    const size_t key_end = string_end(text, at);
    const size_t value = skip_space(text, skip_space(text, key_end) + 1);  // behind the colon
    const size_t end = value_end(text, value);
    object.members.push_back({json::parse(text.substr(at, key_end - at)).get<std::string>(), value, end});
    at = skip_space(text, end);
    if (text[at] == ',') at = skip_space(text, at + 1);
  }
  return object;
}

const Member* find_member(const ObjectText& object, std::string_view key) {
  for (const Member& member : object.members) {
    if (member.key == key) return &member;
  }
  return nullptr;
}

struct Edit {
  size_t begin, end;
  std::string replacement;
};

// The edits that make what the object says about the element type true. False where it says nothing.
bool edit_dtypes(std::string_view text, const ObjectText& object, const std::string& value, std::vector<Edit>& edits) {
  bool said = false;
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Member* member = find_member(object, key);
    if (member == nullptr) continue;
    said = true;
    if (json::parse(text.substr(member->value_begin, member->value_end - member->value_begin)) == value) continue;
    edits.push_back({member->value_begin, member->value_end, json(value).dump()});
  }
  return said;
}

// Version 5 writes rope_parameters and dtype, version 4 torch_dtype.
bool is_version5(const json& object) {
  const auto version = object.find("transformers_version");
  if (version != object.end() && version->is_string()) {
    const std::string number = version->get<std::string>();
    return !number.empty() && number[0] >= '5' && number[0] <= '9';
  }
  return object.contains("rope_parameters");
}

}  // namespace

std::string patch_config_json(std::string_view source_text, const std::string& file, DType dtype) {
  const json root = parse_strict_json(source_text, file);
  if (!root.is_object() || root.empty()) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: must hold one JSON object with the model's fields", file));
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  const size_t start = source_text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  const ObjectText object = object_text(source_text, skip_space(source_text, start));
  const std::string value{dtype_name(dtype)};
  std::vector<Edit> edits;
  bool said = edit_dtypes(source_text, object, value, edits);
  const Member* text_config = find_member(object, "text_config");
  if (text_config != nullptr && source_text[text_config->value_begin] == '{') {
    said |= edit_dtypes(source_text, object_text(source_text, text_config->value_begin), value, edits);
  }
  if (!said) {
    const std::string_view space = source_text.substr(object.begin + 1, object.first_key - object.begin - 1);
    const size_t end = object.members.back().value_end;
    edits.push_back({end, end,
                     fmt::format(",{}\"{}\": \"{}\"", space.empty() ? " " : space,
                                 is_version5(root) ? "dtype" : "torch_dtype", value)});
  }
  std::sort(edits.begin(), edits.end(), [](const Edit& left, const Edit& right) { return left.begin > right.begin; });
  std::string patched(source_text);
  for (const Edit& edit : edits) patched.replace(edit.begin, edit.end - edit.begin, edit.replacement);
  return patched;
}

}  // namespace penstock
