// Flush-to-zero and denormals-are-zero (FTZ/DAZ). The mode is per thread and inherited at thread creation, so main()
// sets it before any other thread or ATen call exists; oracles must run in the same mode.
#pragma once

namespace penstock {

void set_flush_denormals();
bool flushes_denormals();

}  // namespace penstock
