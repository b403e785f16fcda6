// Finds a model of the Hugging Face hub in the local cache that its own tools fill.
// Never touches the network: what is not there is answered with the command that downloads it.
#pragma once

#include <functional>
#include <string>

namespace penstock {

// The value of an environment variable; empty where it is not set.
using EnvironmentLookup = std::function<std::string(const char* name)>;
EnvironmentLookup process_environment();

// An existing folder is returned as it is. Otherwise `name_or_path` is a hub id, `name` or `org/name`, with `@revision`
// behind it for another branch, tag or commit than main, and the result is its snapshot in the cache.
// Throws Error(kBadInput) for a name that can be neither, and for a model that the cache does not hold completely: the
// line says where it was looked for and which command fetches it.
std::string resolve_model_path(const std::string& name_or_path,
                               const EnvironmentLookup& environment = process_environment());

}  // namespace penstock
