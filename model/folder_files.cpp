#include "model/folder_files.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "core/bytes.h"
#include "core/error.h"
#include "core/file.h"
#include "fmt/format.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kCopyBytes = kMiB;
constexpr size_t kMaxNameBytes = 255;  // of a directory entry
constexpr std::string_view kWeightSuffixes[] = {".safetensors", ".bin", ".pt",      ".pth",       ".ckpt",      ".gguf",
                                                ".onnx",        ".h5",  ".msgpack", ".onnx_data", ".index.json"};

constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer.model", "tokenizer.model.v3",      "tokenizer.tiktoken", "spiece.model", "tekken.json",
    "tiktoken.model", "qwen.tiktoken",   "sentencepiece.bpe.model", "vocab.json",         "vocab.txt",
};
constexpr std::string_view kTokenizerSettings[] = {"tokenizer_config.json", "special_tokens_map.json",
                                                   "added_tokens.json"};

bool is_weight_file(std::string_view name) {
  return std::any_of(std::begin(kWeightSuffixes), std::end(kWeightSuffixes),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

// <repository>/snapshots/<commit>/file -> <repository>/blobs/<hash>.
bool is_cache_blob(const fs::path& folder, const fs::path& target) {
  return folder.parent_path().filename() == "snapshots" &&
         target.parent_path() == folder.parent_path().parent_path() / "blobs";
}

// Both without links. Files lie directly in the folder or among its templates; a link may lead to another of them.
bool stays_inside(const fs::path& folder, const fs::path& target) {
  return target.parent_path() == folder || target.parent_path() == folder / kChatTemplateFolder ||
         is_cache_blob(folder, target);
}

// `inner` is empty or a subfolder of `home`.
void add_unowned(const fs::path& home, const fs::path& inner, std::vector<std::string>& names) {
  for (const fs::directory_entry& entry : fs::directory_iterator(home / inner)) {
    const std::string name = entry.path().filename().string();
    if ((inner.empty() && name == "config.json") || is_weight_file(name)) continue;
    std::error_code error;
    if (!entry.is_regular_file(error)) continue;  // follows links
    const fs::path target = fs::canonical(entry.path(), error);
    if (!error && stays_inside(home, target)) names.push_back((inner / name).string());
  }
}

}  // namespace

bool is_plain_name(std::string_view name) {
  const auto is_forbidden = [](unsigned char letter) {
    return letter < 0x20 || letter == 0x7f || letter == '/' || letter == '\\';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), is_forbidden);
}

std::string folder_file(const std::string& folder, const std::string& name) {
  const fs::path path = fs::path(folder) / name;
  std::error_code error;
  if (fs::symlink_status(path, error).type() != fs::file_type::symlink) return path.string();
  const fs::path target = fs::canonical(path, error);
  const fs::path home = error ? fs::path() : fs::canonical(folder, error);
  if (error) {
    throw Error(ExitCode::kBadInput,
                fmt::format("{}: is a link that cannot be followed: {}", path.string(), error.message()));
  }
  if (!stays_inside(home, target)) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: is a link to {}, outside of its folder; put the file itself "
                                                 "there",
                                                 path.string(), target.string()));
  }
  return path.string();
}

std::string read_folder_text(const std::string& folder, const std::string& name, uint64_t max_bytes) {
  return read_text_file(folder_file(folder, name), max_bytes);
}

std::string tokenizer_file(const std::string& folder) {
  std::error_code error;
  for (const char* name : kTokenizerFiles) {
    if (fs::exists(fs::path(folder) / name, error)) return name;
  }
  return "";
}

bool is_tokenizer_setting(std::string_view name) {
  return std::find(std::begin(kTokenizerSettings), std::end(kTokenizerSettings), name) != std::end(kTokenizerSettings);
}

std::vector<std::string> unowned_files(const std::string& folder) {
  std::vector<std::string> names;
  try {
    const fs::path home = fs::canonical(folder);
    add_unowned(home, "", names);
    const bool has_templates = fs::symlink_status(home / kChatTemplateFolder).type() == fs::file_type::directory;
    if (has_templates) add_unowned(home, kChatTemplateFolder, names);
  } catch (const fs::filesystem_error& error) {
    throw Error(ExitCode::kBadInput, fmt::format("{}: cannot list it: {}", folder, error.code().message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void copy_folder_file(const std::string& folder, const std::string& name, const std::string& target) {
  const InputFile from(folder_file(folder, name));
  std::error_code error;
  fs::create_directories(fs::path(target).parent_path(), error);  // the file says what is wrong where this fails
  OutputFile to(target);
  std::vector<std::byte> buffer(std::min(kCopyBytes, std::max<uint64_t>(from.size_bytes(), 1)));
  for (uint64_t done = 0; done < from.size_bytes();) {
    const std::span<std::byte> piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), from.size_bytes() - done));
    from.read(done, piece);
    to.write(piece);
    done += piece.size();
  }
  to.commit();
}

}  // namespace penstock
