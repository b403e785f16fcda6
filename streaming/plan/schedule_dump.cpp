#include <algorithm>

#include "streaming/plan/schedule.h"

namespace penstock {
namespace {

std::string left(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string right(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

size_t widest(const std::vector<std::string>& column) {
  size_t width = 0;
  for (const std::string& cell : column) width = std::max(width, cell.size());
  return width;
}

size_t number_width(size_t count) { return std::to_string(count == 0 ? 0 : count - 1).size(); }

void dump_buffers(const Schedule& schedule, const std::vector<std::string>& names, std::string& text) {
  const std::vector<Buffer>& buffers = schedule.buffers().all();
  std::vector<std::string> sizes;
  for (const Buffer& buffer : buffers) sizes.push_back(std::to_string(buffer.bytes));
  const size_t index_width = number_width(buffers.size());
  const size_t name_width = widest(names);
  const size_t size_width = widest(sizes);
  text += "\nbuffers " + std::to_string(buffers.size()) + "\n";
  for (size_t i = 0; i < buffers.size(); ++i) {
    text += "  " + right(std::to_string(i), index_width) + "  " + left(names[i], name_width) + "  " +
            right(sizes[i], size_width) + " bytes\n";
  }
}

std::string waits_text(const Op& op) {
  if (op.waits.empty()) return "after: -";
  std::string text = "after:";
  for (const OpIndex producer : op.waits) text.append(" ").append(std::to_string(producer));
  return text;
}

// "reads a b writes c"; the word comes again wherever the mode changes, so that the order of accesses survives.
std::string accesses_text(const Op& op, const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < op.accesses.size(); ++i) {
    const Access& access = op.accesses[i];
    if (i == 0 || access.mode != op.accesses[i - 1].mode) text += access.mode == Mode::kRead ? "  reads" : "  writes";
    text += " " + names[access.buffer];
  }
  return text;
}

void dump_ops(const Schedule& schedule, const std::vector<std::string>& names, std::string& text) {
  const std::vector<Op>& ops = schedule.ops();
  std::vector<std::string> labels;
  std::vector<std::string> waits;
  for (const Op& op : ops) {
    labels.push_back(op_label(op, schedule.block_count()));
    waits.push_back(waits_text(op));
  }
  const size_t index_width = number_width(ops.size());
  const size_t label_width = widest(labels);
  const size_t wait_width = widest(waits);
  constexpr size_t kLaneWidth = 7;  // "compute", "offload"
  text += "\nops " + std::to_string(ops.size()) + "\n";
  for (size_t i = 0; i < ops.size(); ++i) {
    std::string line = "  " + right(std::to_string(i), index_width) + "  " +
                       left(std::string(lane_name(ops[i].lane)), kLaneWidth) + "  " + left(labels[i], label_width) +
                       "  " + left(waits[i], wait_width) + accesses_text(ops[i], names);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
}

}  // namespace

std::string dump_schedule(const Schedule& schedule) {
  std::vector<std::string> names;
  for (const Buffer& buffer : schedule.buffers().all()) names.push_back(buffer_label(buffer, schedule.block_count()));
  std::string text = "schedule " + std::string(step_variant_name(schedule.variant())) + " blocks " +
                     std::to_string(schedule.block_count()) + "\n";
  dump_buffers(schedule, names, text);
  dump_ops(schedule, names, text);
  return text;
}

}  // namespace penstock
