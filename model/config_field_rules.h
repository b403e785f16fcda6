// Which fields of config.json Penstock knows, for each family: read, fixed to one value, or harmless.
// Every other field is refused: nothing that could change the maths is ignored.
#pragma once

#include "model/config_family.h"
#include "model/config_fields.h"

namespace penstock {

// Throws Error(kBadInput) for a field that is unknown, or fixed and has another value.
void check_known_fields(const ConfigFields& fields, const ConfigFamily& family);

// The fields beside text_config in a multimodal folder's config.json. They belong to other parts of the model, except
// those that would change how the whole folder is read.
void check_wrapper_fields(const ConfigFields& fields);

}  // namespace penstock
