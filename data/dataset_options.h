// What a user sets about the data, as plain values. Field comments name the configuration keys; messages use them too.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_encoder.h"

namespace penstock {

enum class DatasetFormat : uint8_t {
  kAuto,   // by the file's ending, and for JSONL by the fields of its first row
  kText,   // every file is one document of UTF-8
  kJsonl,  // every line is one document: {"text": ...} or {"input_ids": [...], "labels": [...]}
};

// What makes tokens of text.
enum class Tokenizer : uint8_t {
  kAuto,   // not decided yet: byte for a shape, the folder's own for a folder
  kByte,   // one token per byte
  kModel,  // tokenizer.json of the model's folder
  kNone,   // nothing: text is refused
};

struct DatasetOptions {
  std::vector<std::string> paths;               // dataset.path: files, folders, patterns
  DatasetFormat format = DatasetFormat::kAuto;  // dataset.format
  Tokenizer tokenizer = Tokenizer::kByte;       // dataset.tokenizer, decided
  // With Tokenizer::kModel: starts its process; called when there is text.
  std::function<std::unique_ptr<TextEncoder>()> start_encoder = nullptr;
  int64_t max_seq_len = 2048;           // dataset.max_seq_len: tokens of a row (T)
  bool packing = true;                  // dataset.packing: several documents in a row
  double val_size = 0;                  // dataset.val_size: a part in (0, 1), a number of documents, or 0: none
  std::vector<std::string> eval_paths;  // dataset.eval_path: validation documents, instead of val_size
  uint64_t seed = 42;                   // training.seed
  int64_t vocab_size = 0;               // of the model
  int64_t rows = 1;                     // training.per_device_train_batch_size (B)
  int64_t micro_batches = 1;            // training.gradient_accumulation_steps (M)
};

// "auto", "text", "jsonl"; throws Error(kBadInput) for anything else.
DatasetFormat dataset_format_from_name(std::string_view name);

// Throws one Error(kBadInput) that lists every value out of range with its key.
void require_valid(const DatasetOptions& options);

}  // namespace penstock
