// SIGINT and SIGTERM ask a training run to save and stop after the step it is in. A second one ends it at once.
#pragma once

namespace penstock {

void watch_stop_signals();
bool stop_requested();

}  // namespace penstock
