// Whether the system lets this process use io_uring: kernels lack it, containers' filters and administrators forbid it.
#pragma once

#include <string>

namespace penstock {

struct AsyncIo {
  bool available = false;
  std::string problem;  // "Operation not permitted"
};

AsyncIo probe_async_io();

}  // namespace penstock
