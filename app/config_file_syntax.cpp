#include "app/config_file_syntax.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

namespace penstock {

namespace {

// Follows the parser's events with a depth and, inside maps, whether a key or a value comes next.
// Depth 1 is the document's map, depth 2 a section or a list; what lies deeper is reported once and skipped.
class SettingReader : public YAML::EventHandler {
 public:
  explicit SettingReader(RawConfig& config) : config_(config) {}

  int document_count() const { return document_count_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (document_count_++ > 0)
      report(mark, "a second document, or text that is no YAML; a configuration is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, "?", anchor, ""); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    report(mark, "YAML aliases (*name) are not allowed; write the value out (quote a text that begins with *)");
    if (document_count_ == 1) take_scalar(mark, RawScalar{}, false);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    scalar(mark, tag, anchor, value);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_properties(mark, tag, anchor);
    open(mark, Level::kList);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_properties(mark, tag, anchor);
    open(mark, Level::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  enum class Level : uint8_t { kMap, kList, kSkipped };

  void report(const YAML::Mark& mark, std::string text) {
    config_.problems.push_back({mark.line + 1, std::move(text)});
  }

  // The parser says "?" for a plain scalar, "!" for a quoted one, and spells real tags out.
  void check_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (!tag.empty() && tag != "?" && tag != "!") report(mark, "YAML tags are not allowed (" + tag + ")");
    if (anchor != 0) report(mark, "YAML anchors (&name) are not allowed; write the value out");
  }

  void scalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) {
    check_properties(mark, tag, anchor);
    if (document_count_ == 1) take_scalar(mark, RawScalar{value, tag == "!"}, true);
  }

  void take_scalar(const YAML::Mark& mark, RawScalar value, bool usable) {
    if (levels_.empty()) {
      // An empty document is a file without settings; anything else is no map.
      if (!value.text.empty()) report(mark, "not a configuration: expected `section:` or `key: value`");
      return;
    }
    if (levels_.back() == Level::kSkipped) return;
    if (levels_.back() == Level::kList) {
      if (usable) config_.settings.back().values.push_back(std::move(value));
    } else if (!has_key_) {
      key_ = value.text;
      key_line_ = mark.line + 1;
      key_usable_ = usable;
      has_key_ = true;
    } else {
      has_key_ = false;
      if (usable && key_usable_) add_setting(false).values.push_back(std::move(value));
    }
  }

  RawSetting& add_setting(bool is_list) {
    return config_.settings.emplace_back(RawSetting{section_, key_, {}, is_list, key_line_});
  }

  void open(const YAML::Mark& mark, Level level) {
    if (document_count_ > 1) {
      levels_.push_back(Level::kSkipped);
    } else if (levels_.empty()) {
      if (level == Level::kList) report(mark, "not a configuration: expected `section:` or `key: value`");
      levels_.push_back(level == Level::kMap ? Level::kMap : Level::kSkipped);
    } else if (levels_.back() == Level::kSkipped) {
      levels_.push_back(Level::kSkipped);
    } else if (levels_.back() == Level::kMap && has_key_ && level == Level::kList) {
      has_key_ = false;
      add_setting(true);
      levels_.push_back(Level::kList);
    } else if (levels_.size() == 1 && has_key_) {
      has_key_ = false;
      section_ = key_;
      config_.sections.push_back({key_, key_line_});
      levels_.push_back(Level::kMap);
    } else {
      report(mark, "nested too deeply; allowed: `section:` with `key: value` and `key: [a, b]` below it");
      has_key_ = !has_key_ && levels_.back() == Level::kMap;  // a map or list as a key still has a value to come
      key_usable_ = false;
      levels_.push_back(Level::kSkipped);
    }
  }

  void close() {
    levels_.pop_back();
    if (levels_.size() == 1 && document_count_ == 1 && levels_.back() == Level::kMap) section_.clear();
  }

  RawConfig& config_;
  int document_count_ = 0;
  std::vector<Level> levels_;
  std::string section_;
  std::string key_;
  int key_line_ = 0;
  bool has_key_ = false;
  bool key_usable_ = true;
};

}  // namespace

RawConfig parse_config_text(const std::string& text) {
  RawConfig config;
  const auto end_early = [&](int line, std::string fault) {
    config.problems.push_back({line, std::move(fault)});
    config.sections.clear();
    config.settings.clear();
    config.complete = false;
    return config;
  };
  if (text.size() > kLargestConfigBytes) return end_early(1, "more than 64 KiB; a configuration is smaller than that");
  if (const size_t zero = text.find('\0'); zero != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(zero), '\n');
    return end_early(static_cast<int>(line), "holds a zero byte; a configuration is UTF-8 text");
  }
  SettingReader reader(config);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    // Not to the end: after a stray comma yaml-cpp reports empty documents for ever.
    while (parser.HandleNextDocument(reader) && reader.document_count() == 1) {
    }
  } catch (const YAML::Exception& error) {
    config.problems.clear();  // what was found before may be the same fault, misread
    return end_early(error.mark.is_null() ? 1 : error.mark.line + 1, "not YAML: " + error.msg);
  }
  return config;
}

}  // namespace penstock
