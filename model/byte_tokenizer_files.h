// The byte tokenizer as files that transformers' AutoTokenizer opens: token = byte value of the UTF-8 text, then three
// special tokens. Not an encoder: Penstock itself needs no tokenizer to train on bytes.
#pragma once

#include <cstdint>
#include <string>

namespace penstock {

// tokenizer.json: encoding puts BOS in front of a text, as training does for a document. EOS is left to the model.
std::string byte_tokenizer_json();

// tokenizer_config.json. Special tokens spelled out in a text are encoded as the bytes they are.
std::string byte_tokenizer_config_json(int64_t max_position_embeddings);

}  // namespace penstock
