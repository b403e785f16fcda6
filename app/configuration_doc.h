// docs/configuration.md, written from the key table. A test compares the committed page with it.
#pragma once

#include <string>

namespace penstock {

std::string configuration_doc();

}  // namespace penstock
