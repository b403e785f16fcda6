// A folder under a temporary name that becomes its target or vanishes.
#pragma once

#include <filesystem>
#include <string>

namespace penstock {

class FolderInProgress {
 public:
  // Creates "<target>.tmp", empty: what a killed run left there goes. Throws Error(kIo).
  explicit FolderInProgress(const std::filesystem::path& target);
  ~FolderInProgress();
  FolderInProgress(const FolderInProgress&) = delete;
  FolderInProgress& operator=(const FolderInProgress&) = delete;

  std::string path() const { return temporary_.string(); }
  std::string file(const std::string& name) const { return (temporary_ / name).string(); }

  // Durable. The folder that was there before steps aside first: the name never holds a mixture.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
};

}  // namespace penstock
