#include "streaming/op_context.h"

#include <new>
#include <utility>

#include "core/check.h"
#include "core/error.h"

namespace penstock {
namespace {

void with_op_name(const std::string& name, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    throw Error(error.code(), name + ": " + error.what());
  } catch (const std::bad_alloc&) {
    throw Error(ExitCode::kDoesNotFit, name + ": the system has no memory left");
  } catch (const std::exception& error) {
    throw Error(ExitCode::kDevice, name + ": " + error.what());
  }
}

}  // namespace

BufferIndex OpContext::find(BufferKind kind, Mode mode) const {
  int64_t found = -1;
  for (const Access& access : op().accesses) {
    if (access.mode != mode || schedule_.buffers()[access.buffer].kind != kind) continue;
    CHECK_EQ(found, -1);
    found = access.buffer;
  }
  CHECK_GE(found, 0);
  return static_cast<BufferIndex>(found);
}

std::span<const std::byte> OpContext::read(BufferKind kind) const { return store_.bytes(find(kind, Mode::kRead)); }

std::span<const std::byte> OpContext::read(BufferKind kind, int index, int micro_batch) const {
  const BufferIndex wanted = schedule_.buffers().find(kind, index, micro_batch);
  bool declared = false;
  for (const Access& access : op().accesses) declared |= access.buffer == wanted && access.mode == Mode::kRead;
  CHECK(declared);
  return store_.bytes(wanted);
}

std::span<const std::byte> OpContext::read_pieces(BufferKind kind) const {
  std::span<const std::byte> joined;
  for (const Access& access : op().accesses) {
    if (access.mode != Mode::kRead || schedule_.buffers()[access.buffer].kind != kind) continue;
    const std::span<const std::byte> piece = store_.bytes(access.buffer);
    if (joined.empty()) joined = piece;
    if (piece.data() == joined.data()) continue;  // the first, or rows of the same bytes
    CHECK(piece.data() == joined.data() + joined.size());
    joined = {joined.data(), joined.size() + piece.size()};
  }
  CHECK(joined.data() != nullptr);
  return joined;
}

std::span<std::byte> OpContext::write(BufferKind kind) const { return store_.bytes(find(kind, Mode::kWrite)); }

bool OpContext::declares(BufferKind kind, Mode mode) const {
  for (const Access& access : op().accesses) {
    if (access.mode == mode && schedule_.buffers()[access.buffer].kind == kind) return true;
  }
  return false;
}

void OpContext::tag_slot(BufferKind kind, uint64_t layout_hash) {
  store_.set_tag(find(kind, Mode::kWrite), {weight_layer(), op().part, layout_hash, step_});
}

void OpContext::check_slot(BufferKind kind, uint64_t layout_hash) const {
  store_.check_tag(find(kind, Mode::kRead), {weight_layer(), op().part, layout_hash, step_});
}

void OpContext::launch(std::function<void()> work) {
  device_.launch(op().lane, [work = std::move(work), name = label()] { with_op_name(name, work); });
}

void OpContext::copy(std::span<std::byte> to, std::span<const std::byte> from) {
  CHECK_EQ(to.size(), from.size());
  device_.copy(op().lane, to, from);
}

void OpHandlers::run(OpContext& context) const {
  const OpHandler& handler = handlers_[static_cast<size_t>(context.op().kind)];
  CHECK(handler != nullptr);
  if (context.op().lane == LaneKind::kHost) {
    with_op_name(context.label(), [&] { handler(context); });
  } else {
    handler(context);  // it only enqueues; what it enqueues names itself
  }
}

}  // namespace penstock
