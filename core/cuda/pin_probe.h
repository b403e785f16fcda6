// The probe of pin_choice.h as a child process: our own program, started with a hidden verb, pins until it is refused.
// A child because one refused pin spoils later ones in the same process; started, not forked, so that it holds no
// memory of ours and it does not matter whether this process has used CUDA.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <utility>

#include "core/cuda/pin_choice.h"

namespace penstock {

// In the child: pins up to `bytes` of fresh memory on device `index`, 1 GiB at a time, and writes how many bytes are
// pinned as one line after each. Stops at a refusal or before the system runs out of memory. Returns the exit status;
// throws Error where there is no usable GPU.
int pin_probe_main(CudaRuntime& runtime, int index, uint64_t bytes, std::ostream& output);

// In the parent: runs `PROGRAM pin-probe INDEX BYTES` and returns the last number it wrote, 0 if none: a child that
// the system ends has still said how far it came. Throws Error(kIo) when the program cannot be started.
uint64_t run_pin_probe(const std::filesystem::path& program, int index, uint64_t bytes);

class ChildPinProbe final : public PinProbe {
 public:
  ChildPinProbe(std::filesystem::path program, int index) : program_(std::move(program)), index_(index) {}
  uint64_t most_pinnable_bytes(uint64_t wanted_bytes) override { return run_pin_probe(program_, index_, wanted_bytes); }

 private:
  std::filesystem::path program_;
  int index_;
};

}  // namespace penstock
