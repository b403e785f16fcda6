// Errors a user can cause or meet: bad input, a machine that is too small, a device that is absent.
// Not for bugs in Penstock: those are CHECKs. The message is one line: what, the value, where, what to change.
#pragma once

#include <stdexcept>
#include <string>

namespace penstock {

// The process's exit status; the numbers are part of the command's contract (DESIGN.md section 7).
enum class ExitCode : int {
  kDone = 0,
  kUsage = 64,
  kBadInput = 65,
  kDoesNotFit = 69,
  kDevice = 70,
  kNumericStop = 71,
  kWatchdog = 72,
  kIo = 74,
  kSaved = 75,
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

}  // namespace penstock
