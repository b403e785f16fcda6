#include "app/probe/async_io.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace penstock {

AsyncIo probe_async_io() {
  io_uring_params parameters{};
  constexpr unsigned kEntries = 4;
  const long descriptor = syscall(SYS_io_uring_setup, kEntries, &parameters);
  if (descriptor < 0) return {.problem = std::strerror(errno)};
  close(static_cast<int>(descriptor));
  return {.available = true};
}

}  // namespace penstock
