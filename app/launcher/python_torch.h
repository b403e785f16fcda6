// Asks a Python where its torch package lies, without importing it (that takes seconds).
#pragma once

#include <string>

namespace penstock {

/// The folder of the torch that `python` (a path, or a name in PATH) would import. Empty where there is no such Python,
/// or no torch in it.
std::string torch_folder_of_python(const std::string& python);

}  // namespace penstock
