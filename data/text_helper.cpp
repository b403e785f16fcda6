#include "data/text_helper.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <cstdlib>
#include <filesystem>
#include <limits>

#include "core/check.h"
#include "core/error.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

void append_json_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string find_script() {
  if (std::string script = environment("PENSTOCK_TEXT_HELPER"); !script.empty()) return script;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = program.parent_path(); folder.has_relative_path(); folder = folder.parent_path()) {
    const fs::path script = folder / "scripts" / "text_helper.py";
    if (fs::exists(script, error)) return script.string();
  }
  throw Error(ExitCode::kBadInput,
              fmt::format("scripts/text_helper.py, which runs the model's tokenizer, is in no folder above {}; set "
                          "PENSTOCK_TEXT_HELPER to its path",
                          program.string()));
}

std::string encode_request(std::span<const std::string> texts, bool special_tokens) {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  std::string request = "{\"encode\": [";
  request.reserve(bytes + bytes / 8 + 1024);  // line breaks and quotes take more than they are
  for (const std::string& text : texts) {
    if (&text != texts.data()) request += ", ";
    append_json_text(request, text);
  }
  request += fmt::format("], \"special_tokens\": {}}}\n", special_tokens);
  return request;
}

}  // namespace

// Reads the helper's lines as JSON objects; views are valid until the next line.
class TextHelper::Answers {
 public:
  explicit Answers(TextHelper& helper) : helper_(helper) {}

  dom::object next() {
    line_ = helper_.process_.read_line();
    dom::object answer;
    if (parser_.parse(line_.data(), line_.size()).get(answer)) no_protocol();
    std::string_view cause;
    if (answer["error"].get(cause)) return answer;
    throw Error(ExitCode::kBadInput, std::string(cause));
  }

  std::vector<int32_t> ids(const dom::element& field) {
    dom::array array;
    if (field.get(array)) no_protocol();
    std::vector<int32_t> ids;
    ids.reserve(array.size());
    for (const dom::element element : array) {
      int64_t id = 0;
      if (element.get(id) || id < 0 || id > std::numeric_limits<int32_t>::max()) no_protocol();
      ids.push_back(static_cast<int32_t>(id));
    }
    return ids;
  }

  template <typename T>
  T field(const dom::object& answer, std::string_view name) {
    T value;
    if (answer[name].get(value)) no_protocol();
    return value;
  }

  std::optional<int32_t> optional_id(const dom::object& answer, std::string_view name) {
    const auto element = field<dom::element>(answer, name);
    if (element.is_null()) return std::nullopt;
    int64_t id = 0;
    if (element.get(id) || id < 0 || id > std::numeric_limits<int32_t>::max()) no_protocol();
    return static_cast<int32_t>(id);
  }

 private:
  [[noreturn]] void no_protocol() const {
    std::string shown;
    for (const char c : line_.substr(0, 60)) shown += c >= ' ' && c <= '~' ? c : '?';
    throw Error(ExitCode::kIo, fmt::format("the text helper of {} answered '{}', which is not its protocol: are "
                                           "scripts/text_helper.py and PENSTOCK_PYTHON those of this version?",
                                           helper_.folder_, shown));
  }

  TextHelper& helper_;
  std::string_view line_;
  dom::parser parser_;
};

HelperCommand find_text_helper() {
  const std::string script = find_script();
  if (std::string python = environment("PENSTOCK_PYTHON"); !python.empty()) return {python, script};
  // Not resolved further: a virtual environment's python is known by where its link lies.
  const fs::path own = fs::path(script).parent_path().parent_path() / ".venv" / "bin" / "python";
  std::error_code error;
  return {fs::exists(own, error) ? own.string() : "python3", script};
}

TextHelper::TextHelper(const HelperCommand& command, const std::string& folder)
    : folder_(folder), process_({command.python, command.script, folder}) {
  Answers answers(*this);
  const dom::object answer = answers.next();
  facts_.vocabulary_size = answers.field<int64_t>(answer, "vocabulary_size");
  facts_.bos = answers.optional_id(answer, "bos");
  facts_.eos = answers.optional_id(answer, "eos");
  facts_.stop_tokens = answers.ids(answers.field<dom::element>(answer, "stop"));
}

void TextHelper::ask(std::string_view request) {
  if (process_.write(request)) return;
  Answers(*this).next();  // what it has to say, or that it is gone
  throw Error(ExitCode::kIo, fmt::format("the text helper of {} spoke out of turn: is scripts/text_helper.py that of "
                                         "this version?",
                                         folder_));
}

std::vector<std::vector<int32_t>> TextHelper::encode(std::span<const std::string> texts, bool special_tokens) {
  ask(encode_request(texts, special_tokens));
  Answers answers(*this);
  std::vector<std::vector<int32_t>> result(texts.size());
  for (std::vector<int32_t>& ids : result) {
    bool more = true;
    while (more) {
      const dom::object answer = answers.next();
      const std::vector<int32_t> part = answers.ids(answers.field<dom::element>(answer, "ids"));
      ids.insert(ids.end(), part.begin(), part.end());
      more = answers.field<bool>(answer, "more");
    }
  }
  return result;
}

std::string TextHelper::decode(std::span<const int32_t> ids, std::span<const int32_t> after, bool skip_special_tokens) {
  ask(fmt::format("{{\"decode\": [{}], \"after\": [{}], \"skip_special_tokens\": {}}}\n", fmt::join(ids, ", "),
                  fmt::join(after, ", "), skip_special_tokens));
  Answers answers(*this);
  return std::string(answers.field<std::string_view>(answers.next(), "text"));
}

}  // namespace penstock
