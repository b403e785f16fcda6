#include "model/strict_json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/error.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace penstock {
namespace {

using nlohmann::json;

// Deeper than any file of this kind; keeps a hostile one from growing the parser's stack.
constexpr int kMaxDepth = 32;
constexpr size_t kExcerptCharacters = 80;
constexpr size_t kCauseCharacters = 240;

// Called by the parser for every event; throws at the first duplicate key or at too deep a nesting.
class KeyWatch {
 public:
  explicit KeyWatch(const std::string& where) : where_(where) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) {
      throw Error(ExitCode::kBadInput, fmt::format("{}: JSON nested deeper than {} levels", where_, kMaxDepth));
    }
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw Error(ExitCode::kBadInput, fmt::format("{}: key {} appears twice", where_, json_excerpt(parsed)));
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> keys_;  // of every object that is open
};

// The parser prefixes its text with "[json.exception.parse_error.101] ", which tells a user nothing, and quotes what it
// read last, which may be long and need not be text.
std::string readable_cause(const char* message) {
  std::string text = message;
  const size_t end = text.find("] ");
  if (end != std::string::npos) text.erase(0, end + 2);
  if (text.size() > kCauseCharacters) text = text.substr(0, kCauseCharacters) + "...";
  for (char& character : text) {
    if (character < 0x20 || character > 0x7e) character = '?';
  }
  return text;
}

}  // namespace

json parse_strict_json(std::string_view text, const std::string& where) {
  // The parser takes a NUL for the end and would not see what stands behind it.
  if (text.find('\0') != std::string_view::npos) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: not valid JSON: a NUL at byte {}", where, text.find('\0')));
  }
  KeyWatch watch(where);
  try {
    return json::parse(text.begin(), text.end(), std::ref(watch));
  } catch (const json::exception& error) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: not valid JSON: {}", where, readable_cause(error.what())));
  }
}

std::string json_excerpt(const json& value) {
  // Replacement of broken UTF-8 and ASCII output keep the message one printable line.
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kExcerptCharacters) text = text.substr(0, kExcerptCharacters) + "...";
  return text;
}

std::string printable_name(const std::string& name) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char character) { return character >= 0x20 && character <= 0x7e; });
  return printable && !name.empty() && name.size() <= kExcerptCharacters ? name : json_excerpt(name);
}

}  // namespace penstock
