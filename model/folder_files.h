// Which files of a Hugging Face folder may be read, and which belong to its owner and not to us.
// Not a reader of any format. A link that leads out of the folder is refused, so that a folder from elsewhere cannot
// make us read this machine's files; the exception is the Hugging Face cache, whose snapshots link to the blobs beside.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// A name of a file beside the one that mentions it: no separators or control characters, not "." or "..", 255 bytes at
// most.
bool is_plain_name(std::string_view name);

// <folder>/<name>, a plain name or one of unowned_files(), after following links by the rule above. The file need not
// exist. Throws Error(kBadInput) for a link that leads out, dangles or turns in a circle.
std::string folder_file(const std::string& folder, const std::string& name);

// folder_file() as text; Error(kBadInput) for more than `max_bytes` and for what is no regular file.
std::string read_folder_text(const std::string& folder, const std::string& name, uint64_t max_bytes);

// The one subfolder whose files belong to a model: a tokenizer's chat templates beside its first.
inline constexpr const char* kChatTemplateFolder = "additional_chat_templates";

// The file that shows that a folder has a tokenizer, a slow one included; empty: none. tokenizer.json comes first.
std::string tokenizer_file(const std::string& folder);
// A file that only says more about a tokenizer, such as special_tokens_map.json.
bool is_tokenizer_setting(std::string_view name);

// Files that a rewritten folder keeps: tokenizer, templates, licence, whatever else lies there. Sorted names of regular
// files, without config.json, weights of any format and their indexes, subfolders (the files of kChatTemplateFolder
// are named with it in front), and links that lead out.
std::vector<std::string> unowned_files(const std::string& folder);

// Copies a file of `folder` durably to `target`, the content where it is a link; makes the folder that `target` lies
// in. Throws Error(kBadInput), Error(kIo).
void copy_folder_file(const std::string& folder, const std::string& name, const std::string& target);

}  // namespace penstock
