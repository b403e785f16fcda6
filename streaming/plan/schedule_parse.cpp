#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "streaming/plan/schedule.h"

namespace penstock {
namespace {

constexpr int kMaxBlocks = 1'000'000;
constexpr int kMaxNumber = 1 << 26;  // of a slot, a row or a micro-batch; BufferTable holds a little more

// Cuts a text into lines of blank-separated words; empty lines are skipped.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : rest_(text) {}

  // False at the end of the text.
  bool next() {
    while (!rest_.empty()) {
      const size_t end = rest_.find('\n');
      const std::string_view line = rest_.substr(0, end);
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      ++number_;
      split(line);
      if (!words_.empty()) return true;
    }
    words_.clear();
    ++number_;
    return false;
  }

  const std::vector<std::string_view>& words() const { return words_; }
  std::string_view word(size_t index) const { return index < words_.size() ? words_[index] : std::string_view(); }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ExitCode::kBadInput, "schedule text, line " + std::to_string(number_) + ": " + what +
                                         "; a dump of `penstock plan --schedule` is expected");
  }

 private:
  void split(std::string_view line) {
    constexpr std::string_view kBlanks = " \t\r";
    words_.clear();
    for (size_t begin = line.find_first_not_of(kBlanks); begin != std::string_view::npos;) {
      const size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
      words_.push_back(line.substr(begin, end - begin));
      begin = line.find_first_not_of(kBlanks, end);
    }
  }

  std::string_view rest_;
  size_t number_ = 0;
  std::vector<std::string_view> words_;
};

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "name(argument,m3)" taken apart; argument and micro-batch may be absent.
struct Label {
  std::string_view name;
  std::string_view argument;
  int micro_batch = -1;
};

std::optional<Label> parse_label(std::string_view text) {
  Label label;
  const size_t open = text.find('(');
  label.name = text.substr(0, open);
  if (open == std::string_view::npos) return label;
  if (text.back() != ')') return std::nullopt;
  std::string_view inside = text.substr(open + 1, text.size() - open - 2);
  const size_t comma = inside.find(',');
  std::string_view last = comma == std::string_view::npos ? inside : inside.substr(comma + 1);
  const bool has_micro_batch = !last.empty() && last.front() == 'm';
  if (comma != std::string_view::npos && (!has_micro_batch || comma == 0)) return std::nullopt;
  if (has_micro_batch) {
    const std::optional<int> m = number<int>(last.substr(1));
    if (!m || *m < 0 || *m > kMaxNumber) return std::nullopt;
    label.micro_batch = *m;
    inside = comma == std::string_view::npos ? std::string_view() : inside.substr(0, comma);
  } else if (inside.empty()) {
    return std::nullopt;
  }
  label.argument = inside;
  return label;
}

std::optional<int> parse_layer(std::string_view text, int block_count) {
  if (text == "E") return 0;
  if (text == "H") return block_count + 1;
  const std::optional<int> block = number<int>(text);
  if (!block || *block < 0 || *block >= block_count) return std::nullopt;
  return *block + 1;
}

// "3:1" taken apart into "3" and its piece; nothing where there is none.
struct PieceLabel {
  std::string_view layer;
  int piece = kWholeLayer;
};

std::optional<PieceLabel> parse_piece(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return PieceLabel{text};
  const std::string_view piece = text.substr(colon + 1);
  PieceLabel label{text.substr(0, colon)};
  if (piece == "hot" || piece == "cold") {
    label.piece = piece == "hot" ? kHotRows : kColdRows;
    return label;
  }
  const std::optional<int> count = number<int>(piece);
  if (!count || *count < 0 || *count > kMaxNumber) return std::nullopt;
  label.piece = *count;
  return label;
}

// The value in [0, count) whose name is `text`.
template <typename Kind, typename Name>
std::optional<Kind> find_kind(std::string_view text, int count, Name name) {
  for (int i = 0; i < count; ++i) {
    if (name(static_cast<Kind>(i)) == text) return static_cast<Kind>(i);
  }
  return std::nullopt;
}

std::string quoted(std::string_view text) { return std::string("'").append(text).append("'"); }

class ScheduleParser {
 public:
  explicit ScheduleParser(std::string_view text) : lines_(text) {}

  Schedule parse() {
    parse_header();
    const size_t buffer_count = parse_section("buffers");
    for (size_t i = 0; i < buffer_count; ++i) parse_buffer(i);
    const size_t op_count = parse_section("ops");
    for (size_t i = 0; i < op_count; ++i) parse_op(i);
    if (lines_.next()) lines_.fail("text after the last op");
    return Schedule(variant_, block_count_, std::move(buffers_), std::move(ops_));
  }

 private:
  void parse_header() {
    lines_.next();
    const auto variant =
        find_kind<StepVariant>(lines_.word(1), static_cast<int>(StepVariant::kDecode) + 1, step_variant_name);
    const std::optional<int> blocks = number<int>(lines_.word(3));
    if (lines_.words().size() != 4 || lines_.word(0) != "schedule" || lines_.word(2) != "blocks") {
      lines_.fail("no header 'schedule VARIANT blocks N'");
    }
    if (!variant) lines_.fail("unknown step variant " + quoted(lines_.word(1)));
    if (!blocks || *blocks < 1 || *blocks > kMaxBlocks) lines_.fail("bad number of blocks " + quoted(lines_.word(3)));
    variant_ = *variant;
    block_count_ = *blocks;
  }

  size_t parse_section(std::string_view name) {
    const bool found = lines_.next();
    const std::optional<uint32_t> count = number<uint32_t>(lines_.word(1));
    if (!found || lines_.words().size() != 2 || lines_.word(0) != name || !count) {
      lines_.fail("no line '" + std::string(name) + " COUNT'");
    }
    return *count;
  }

  // The next line must carry its own number: a lost or moved line is found at once.
  void next_row(std::string_view section, size_t row) {
    if (!lines_.next()) lines_.fail("the text ends before " + std::string(section) + " " + std::to_string(row));
    if (number<size_t>(lines_.word(0)) != row) {
      lines_.fail("expected " + std::string(section) + " " + std::to_string(row) + ", found " + quoted(lines_.word(0)));
    }
  }

  void parse_buffer(size_t row) {
    next_row("buffer", row);
    const std::string_view text = lines_.word(1);
    const std::optional<Label> label = parse_label(text);
    const auto kind = label ? find_kind<BufferKind>(label->name, kBufferKindCount, buffer_kind_name) : std::nullopt;
    if (!kind) lines_.fail("unknown buffer " + quoted(text));
    const std::optional<PieceLabel> place_label = parse_piece(label->argument);
    const std::optional<int> index = place_label ? parse_buffer_index(*kind, place_label->layer) : std::nullopt;
    const std::optional<uint64_t> bytes = number<uint64_t>(lines_.word(2));
    const bool has_piece = place_label && place_label->piece != kWholeLayer;
    if (!index || (has_piece && *kind != BufferKind::kHostWire)) lines_.fail("bad index in buffer " + quoted(text));
    if (lines_.words().size() != 4 || !bytes || lines_.word(3) != "bytes") lines_.fail("no size 'N bytes'");
    const Buffer buffer{*kind, *index, label->micro_batch, *bytes, place_label->piece};
    if (has_piece && label->micro_batch >= 0) lines_.fail("bad index in buffer " + quoted(text));
    if (buffers_.contains(buffer)) lines_.fail("buffer " + quoted(text) + " comes twice");
    const BufferIndex place = buffers_.add(buffer);
    // The canonical name, so that "wire(00)" is no alias.
    by_name_.emplace(buffer_label(buffers_[place], block_count_), place);
  }

  std::optional<int> parse_buffer_index(BufferKind kind, std::string_view text) const {
    switch (index_meaning(kind)) {
      case IndexMeaning::kNone:
        return text.empty() ? std::optional<int>(0) : std::nullopt;
      case IndexMeaning::kLayer:
        return parse_layer(text, block_count_);
      case IndexMeaning::kNumber: {
        const std::optional<int> index = number<int>(text);
        return index && *index >= 0 && *index <= kMaxNumber ? index : std::nullopt;
      }
    }
    return std::nullopt;
  }

  void parse_op(size_t row) {
    next_row("op", row);
    const std::string_view lane_text = lines_.word(1);
    const auto lane = find_kind<LaneKind>(lane_text, kLaneCount, lane_name);
    if (!lane) lines_.fail("unknown lane " + quoted(lane_text));
    const std::string_view text = lines_.word(2);
    const std::optional<Label> label = parse_label(text);
    const auto kind = label ? find_kind<OpKind>(label->name, kOpKindCount, op_kind_name) : std::nullopt;
    if (!kind) lines_.fail("unknown op " + quoted(text));
    Op op{.kind = *kind, .lane = *lane, .layer = -1, .micro_batch = label->micro_batch, .accesses = {}, .waits = {}};
    if (!label->argument.empty() && !parse_op_layer(label->argument, op)) {
      lines_.fail("bad layer in op " + quoted(text));
    }
    const size_t next = parse_waits(op);
    parse_accesses(op, next);
    ops_.push_back(std::move(op));
  }

  // "3", "H", a part of a layer, "H.2", or a piece of one, "3:1".
  bool parse_op_layer(std::string_view label, Op& op) const {
    const std::optional<PieceLabel> piece = parse_piece(label);
    if (!piece) return false;
    op.piece = piece->piece;
    const std::string_view text = piece->layer;
    const size_t dot = text.find('.');
    const std::optional<int> layer = parse_layer(text.substr(0, dot), block_count_);
    if (!layer) return false;
    op.layer = *layer;
    if (dot == std::string_view::npos) return true;
    const std::optional<int> part = number<int>(text.substr(dot + 1));
    if (!part || *part < 0 || *part > kMaxNumber) return false;
    op.part = *part;
    return true;
  }

  // "after: -" or "after: 3 17"; returns the position of the word behind it.
  size_t parse_waits(Op& op) {
    size_t position = 3;
    if (lines_.word(position++) != "after:") lines_.fail("no 'after:' behind the op");
    if (lines_.word(position) == "-") return position + 1;
    for (; position < lines_.words().size(); ++position) {
      const std::string_view text = lines_.word(position);
      if (text == "reads" || text == "writes") break;
      const std::optional<OpIndex> producer = number<OpIndex>(text);
      if (!producer || *producer >= ops_.size()) lines_.fail("wait for " + quoted(text) + ", which is no earlier op");
      if (!op.waits.empty() && op.waits.back() >= *producer) lines_.fail("waits are not ascending");
      check_wait_lane(op, *producer);
      op.waits.push_back(*producer);
    }
    if (op.waits.empty()) lines_.fail("nothing behind 'after:'; '-' means no wait");
    return position;
  }

  void check_wait_lane(const Op& op, OpIndex producer) const {
    const LaneKind lane = ops_[producer].lane;
    bool taken = lane == op.lane;
    for (const OpIndex other : op.waits) taken = taken || ops_[other].lane == lane;
    if (taken)
      lines_.fail("wait for op " + std::to_string(producer) + " on the op's own lane or a lane waited for already");
  }

  void parse_accesses(Op& op, size_t position) {
    std::optional<Mode> mode;
    for (; position < lines_.words().size(); ++position) {
      const std::string_view text = lines_.word(position);
      if (text == "reads" || text == "writes") {
        mode = text == "reads" ? Mode::kRead : Mode::kWrite;
        continue;
      }
      if (!mode) lines_.fail("expected 'reads' or 'writes', found " + quoted(text));
      const auto buffer = by_name_.find(std::string(text));
      if (buffer == by_name_.end()) lines_.fail("buffer " + quoted(text) + " is not in the table");
      op.accesses.push_back({buffer->second, *mode});
    }
  }

  LineReader lines_;
  StepVariant variant_ = StepVariant::kTrain;
  int block_count_ = 0;
  BufferTable buffers_;
  std::unordered_map<std::string, BufferIndex> by_name_;
  std::vector<Op> ops_;
};

}  // namespace

Schedule parse_schedule(std::string_view text) { return ScheduleParser(text).parse(); }

}  // namespace penstock
