// Starts threads that compute: they must run in the creating thread's floating-point mode.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace penstock {

// Runs `body` on a new thread that shows `name` (15 characters at most) in debuggers and profilers. The thread CHECKs
// that it inherited FTZ/DAZ. Throws Error(kDoesNotFit) when the system refuses another thread. An exception that leaves
// `body` ends the process.
std::thread start_thread(std::string name, std::function<void()> body);

}  // namespace penstock
