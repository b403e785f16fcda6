// Random documents in the plainest form, beside the store that holds the same ones.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/document_store.h"

namespace penstock {

struct PlainDocument {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
};

// Random documents, all different, and the store that holds them.
struct RandomDocuments {
  std::unique_ptr<DocumentStore> store;
  std::vector<PlainDocument> plain;

  std::vector<int64_t> all() const {
    std::vector<int64_t> indices;
    for (size_t i = 0; i < plain.size(); ++i) indices.push_back(static_cast<int64_t>(i));
    return indices;
  }
};

// `longest` counts the document's own bytes or tokens. Document i begins with its number.
RandomDocuments random_documents(DocumentKind kind, int64_t count, int64_t longest, uint64_t seed);

}  // namespace penstock
