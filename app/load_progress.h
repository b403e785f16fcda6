// Loading a model's weights as a person sees it: one live line on a terminal, nothing elsewhere.
#pragma once

#include <string>

#include "app/console.h"
#include "streaming/weight_loader.h"

namespace penstock {

// "loading  3.20 GiB of 14.9 GiB".
std::string format_loading(uint64_t done_bytes, uint64_t total_bytes);

// For load_weights(): follows it on `console`, and leaves the last line standing.
LoadOptions shown_on(Console& console);

}  // namespace penstock
