// Start-up as a person sees it: memory that is touched and weights that are loaded, one live line on a terminal,
// nothing elsewhere.
#pragma once

#include <string>

#include "app/console.h"
#include "core/first_touch.h"
#include "streaming/weight_loader.h"

namespace penstock {

// "loading  3.20 GiB of 14.9 GiB".
std::string format_loading(uint64_t done_bytes, uint64_t total_bytes);

// "memory   3.00 GiB of 14.9 GiB".
std::string format_touching(uint64_t done_bytes, uint64_t total_bytes);

// For touch_fresh(): follows it on `console`, and leaves no line.
TouchOptions touch_shown_on(Console& console);

// For load_weights(): follows it on `console`, and leaves the last line standing.
LoadOptions shown_on(Console& console);

}  // namespace penstock
