#include "app/launcher/torch_search.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <system_error>

#include "app/launcher/python_torch.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNeededVersion = PENSTOCK_TORCH_VERSION;
constexpr const char* kNeededLibraries = PENSTOCK_NEEDED_LIBRARIES;  // names between colons

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The release in version.py's line __version__ = '2.11.0+cu130', without what follows the plus; empty if there is none.
std::string release_of(const fs::path& torch) {
  std::ifstream file(torch / "version.py");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("__version__", 0) != 0) continue;
    const size_t begin = line.find_first_of("'\"");
    if (begin == std::string::npos) return "";
    return line.substr(begin + 1, line.find_first_of("+'\"", begin + 1) - begin - 1);
  }
  return "";
}

std::vector<fs::path> library_folders_of(const fs::path& torch) {
  std::vector<fs::path> folders = {torch / "lib"};
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(torch.parent_path() / "nvidia", error)) {
    if (fs::is_directory(entry.path() / "lib", error)) folders.push_back(entry.path() / "lib");
  }
  std::sort(folders.begin() + 1, folders.end());
  return folders;
}

// The first needed library that is neither in these folders nor in LD_LIBRARY_PATH; empty if all are there.
std::string missing_library(const std::vector<fs::path>& folders) {
  std::vector<fs::path> searched = folders;
  for (const std::string& folder : split(environment("LD_LIBRARY_PATH"), ':')) searched.emplace_back(folder);
  for (const std::string& library : split(kNeededLibraries, ':')) {
    const bool found = std::any_of(searched.begin(), searched.end(), [&](const fs::path& folder) {
      std::error_code error;
      return fs::exists(folder / library, error);
    });
    if (!found) return library;
  }
  return "";
}

// Takes the folder into `choice`, or returns why not.
std::string try_folder(const fs::path& given, TorchChoice& choice) {
  std::error_code error;
  const fs::path torch = fs::absolute(given, error);
  const std::string release = release_of(torch);
  if (release.empty()) return given.string() + " has no version.py of torch";
  if (release != kNeededVersion) return given.string() + " is torch " + release;
  std::vector<fs::path> folders = library_folders_of(torch);
  if (const std::string missing = missing_library(folders); !missing.empty()) {
    return given.string() + " is torch " + release + " without " + missing;
  }
  choice.library_folders = std::move(folders);
  return "";
}

std::string refusal(const std::string& seen) {
  return std::string("this program needs torch ") + kNeededVersion + ": " + seen +
         "; set PENSTOCK_TORCH_DIR to the torch folder of a Python with torch==" + kNeededVersion;
}

std::vector<std::string> pythons() {
  std::vector<std::string> names;
  if (const std::string folder = environment("VIRTUAL_ENV"); !folder.empty()) names.push_back(folder + "/bin/python");
  names.insert(names.end(), {"python3", "python"});
  return names;
}

}  // namespace

TorchChoice find_torch(const fs::path& program_folder) {
  TorchChoice choice;
  if (const std::string folder = environment("PENSTOCK_TORCH_DIR"); !folder.empty()) {
    const std::string why = try_folder(folder, choice);
    if (!why.empty()) choice.refusal = refusal("PENSTOCK_TORCH_DIR: " + why);
    return choice;
  }
  std::string seen;
  const auto fits = [&](const fs::path& folder) {
    const std::string why = try_folder(folder, choice);
    if (!why.empty()) seen += (seen.empty() ? "" : ", ") + why;
    return why.empty();
  };
  std::error_code error;
  if (fs::exists(program_folder / "torch", error) && fits(program_folder / "torch")) return choice;
  for (const std::string& python : pythons()) {
    const std::string folder = torch_folder_of_python(python);
    if (!folder.empty() && fits(folder)) return choice;
  }
  choice.refusal = refusal(seen.empty() ? "no Python here has torch" : seen);
  return choice;
}

}  // namespace penstock
