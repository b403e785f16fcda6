// The section `model` of the key table: a folder to start from, or the shape of a new model.
#include <algorithm>
#include <span>
#include <utility>

#include "app/config_keys_row.h"
#include "model/config_family.h"

namespace penstock {

namespace {

#define FIELD(path) PENSTOCK_CONFIG_FIELD(path)

// An extent of the model: 0 in ModelConfig means "not given".
template <typename Access>
Row extent(std::string_view name, Access access) {
  Row row(name, KeyType::kInteger, access);
  row.key.read = [access](const RunConfig& config) {
    return access(config) == 0 ? KeyValue{} : KeyValue{access(config)};
  };
  return row;
}

// model_type is text in ModelConfig; here it is a choice, so that other families are refused by name.
Row model_type_row() {
  Row row = choice("model_type", FIELD(model.shape.model_type));
  row.key.read = [](const RunConfig& config) {
    const std::span families = supported_model_types();
    const auto found = std::find(families.begin(), families.end(), config.model.shape.model_type);
    return KeyValue{static_cast<int64_t>(found - families.begin())};
  };
  row.key.write = [](RunConfig& config, const KeyValue& value) {
    const int64_t* family = std::get_if<int64_t>(&value);
    config.model.shape.model_type = supported_model_types()[family == nullptr ? 0 : static_cast<size_t>(*family)];
  };
  return std::move(row)
      .choices({supported_model_types().begin(), supported_model_types().end()})
      .means(kYes,
             "family of the model; qwen2 has biases on q, k and v, qwen3 norms q and k, every fourth block of "
             "smollm3 has no positions");
}

std::vector<Row> shape_rows() {
  return {
      model_type_row(),
      extent("vocab_size", FIELD(model.shape.vocab_size))
          .range(1, kMostExtent)
          .shown("259 with `tokenizer: byte`")
          .means(kYes, "rows of the embedding and of the head"),
      extent("hidden_size", FIELD(model.shape.hidden_size)).range(1, kMostExtent).means(kYes, "width of the model"),
      extent("intermediate_size", FIELD(model.shape.intermediate_size))
          .range(1, kMostExtent)
          .means(kYes, "width inside the feed-forward part"),
      extent("num_hidden_layers", FIELD(model.shape.num_hidden_layers)).range(1, 65536).means(kYes, "number of blocks"),
      extent("num_attention_heads", FIELD(model.shape.num_attention_heads))
          .range(1, 65536)
          .means(kYes, "query heads per block"),
      extent("num_key_value_heads", FIELD(model.shape.num_key_value_heads))
          .range(1, 65536)
          .shown("num_attention_heads")
          .means(kYes, "key and value heads per block; fewer than query heads is grouped-query attention"),
      extent("head_dim", FIELD(model.shape.head_dim))
          .range(2, 65536)
          .shown("hidden_size / num_attention_heads")
          .means(kYes, "width of one head"),
      whole("max_position_embeddings", FIELD(model.shape.max_position_embeddings))
          .range(1, kMostExtent)
          .shown("2048, or max_seq_len if that is more")
          .means(kYes, "longest sequence the model is meant for"),
      number("rms_norm_eps", FIELD(model.shape.rms_norm_eps)).above(0, 1).means(kYes, "added under the norms' root"),
      number("rope_theta", FIELD(model.shape.rope_theta)).above(0, 1e12).means(kYes, "base of the rotary angles"),
      truth("tie_word_embeddings", FIELD(model.shape.tie_word_embeddings))
          .means(kYes, "one tensor is both embedding and head"),
      number("initializer_range", FIELD(model.shape.initializer_range))
          .above(0, 1)
          .means(kYes, "standard deviation of the first weights"),
  };
}

}  // namespace

std::vector<Row> model_rows() {
  std::vector<Row> rows = {
      text("model_name_or_path", FIELD(model.model_name_or_path))
          .unset("null")
          .means(kYes,
                 "Hugging Face model to start from: a folder, or a hub id (`org/name`, `org/name@revision`) that is in "
                 "the local cache; the shape keys below are then left out"),
      truth("train_from_scratch", FIELD(model.train_from_scratch))
          .means(kYes, "take only the shape from model_name_or_path and draw new weights"),
  };
  // Shape keys read as unset while a folder provides the shape.
  for (Row& row : shape_rows()) {
    row.key.unset_word = "null";
    row.key.read = [read = row.key.read](const RunConfig& config) {
      return config.model.model_name_or_path.empty() ? read(config) : KeyValue{};
    };
    rows.push_back(std::move(row));
  }
  return rows;
}

#undef FIELD

}  // namespace penstock
