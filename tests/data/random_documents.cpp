#include "random_documents.h"

#include <string>

#include "core/random.h"
#include "data/byte_tokenizer.h"
#include "data/step_batch.h"

namespace penstock {

RandomDocuments random_documents(DocumentKind kind, int64_t count, int64_t longest, uint64_t seed) {
  RandomDocuments result;
  std::vector<std::string> texts;
  std::vector<PretokenizedRow> rows;
  const CounterRandom random(seed, 1);
  uint64_t draws = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t size = 1 + random.below(draws++, static_cast<uint64_t>(longest));
    std::vector<int32_t> tokens{static_cast<int32_t>(i + 1)};
    while (tokens.size() < size) tokens.push_back(static_cast<int32_t>(1 + random.below(draws++, 120)));
    PlainDocument plain;
    if (kind == DocumentKind::kText) {
      std::string text;
      for (const int32_t token : tokens) text.push_back(static_cast<char>(token));
      texts.push_back(text);
      plain.tokens = tokens;
      plain.tokens.insert(plain.tokens.begin(), kByteBos);
      plain.tokens.push_back(kByteEos);
      plain.targets.assign(plain.tokens.begin() + 1, plain.tokens.end());
      plain.targets.push_back(kIgnoredTarget);
    } else {
      std::vector<int32_t> labels;
      for (size_t j = 0; j < tokens.size(); ++j) {
        labels.push_back(random.below(draws++, 3) == 0 ? kIgnoredTarget
                                                       : static_cast<int32_t>(random.below(draws++, 200)));
      }
      plain.tokens = tokens;
      plain.targets.assign(labels.begin() + 1, labels.end());
      plain.targets.push_back(kIgnoredTarget);
      rows.push_back({tokens, labels});
    }
    result.plain.push_back(plain);
  }
  const bool text = kind == DocumentKind::kText;
  result.store = text ? make_text_store(std::move(texts)) : make_pretokenized_store(std::move(rows));
  return result;
}

}  // namespace penstock
