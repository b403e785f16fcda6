#include "core/thread_start.h"

#include <fmt/format.h>
#include <pthread.h>

#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "core/float_mode.h"

namespace penstock {

std::thread start_thread(std::string name, std::function<void()> body) {
  CHECK_LE(name.size(), 15u);  // the kernel's limit
  const bool flushes = flushes_denormals();
  try {
    return std::thread([name, flushes, run = std::move(body)] {
      CHECK_EQ(flushes_denormals(), flushes);
      pthread_setname_np(pthread_self(), name.c_str());
      run();
    });
  } catch (const std::system_error& refusal) {
    throw Error(ExitCode::kDoesNotFit,
                fmt::format("the system refuses to start thread '{}' ({}); use fewer threads or raise the limit "
                            "(ulimit -u)",
                            name, refusal.what()));
  }
}

}  // namespace penstock
