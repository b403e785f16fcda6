#include "app/probe/disk_rate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>

#include "app/probe/turns.h"
#include "core/arena.h"
#include "core/bytes.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPieceBytes = 4 * kMiB;
constexpr uint64_t kSyncBytes = 32 * kMiB;  // without O_DIRECT: how much may wait in the page cache
constexpr uint64_t kLeastBytes = 16 * kMiB;

// A file without a name: the kernel frees it when the process ends, however it ends.
class NamelessFile {
 public:
  explicit NamelessFile(const fs::path& folder) {
    std::string name = (folder / ".penstock-probe-XXXXXX").string();
    descriptor_ = mkostemp(name.data(), O_CLOEXEC);
    if (descriptor_ >= 0) unlink(name.c_str());
  }
  ~NamelessFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  int descriptor() const { return descriptor_; }
  // False where the file system refuses.
  bool use_direct_io(bool wanted) const {
    const int flags = fcntl(descriptor_, F_GETFL);
    return fcntl(descriptor_, F_SETFL, wanted ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
  }

 private:
  int descriptor_ = -1;
};

fs::path nearest_folder(const fs::path& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder.empty() ? fs::path(".") : folder, error);
  while (!fs::is_directory(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

// Moves pieces, one at least, until `most_bytes` or the time are used up. `move` returns what the system call returned.
struct Transfer {
  uint64_t bytes = 0;
  double seconds = 0;
  int error_number = 0;
};
Transfer transfer(uint64_t most_bytes, double limit, const std::function<ssize_t(uint64_t offset)>& move) {
  Transfer done;
  const double begin = now_seconds();
  do {
    const ssize_t moved = move(done.bytes);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) done.error_number = errno;
    if (moved <= 0) break;
    done.bytes += static_cast<uint64_t>(moved);
    done.seconds = now_seconds() - begin;
  } while (done.bytes < most_bytes && done.seconds < limit);
  return done;
}

double rate_gbps(const Transfer& done) { return static_cast<double>(done.bytes) / std::max(done.seconds, 1e-9) * 1e-9; }

// The time until the bytes are durable counts.
Transfer write_file(const NamelessFile& file, std::span<std::byte> piece, const DiskSizes& sizes, bool direct) {
  const auto sync = [&] { return fdatasync(file.descriptor()) == 0; };
  Transfer done = transfer(sizes.most_bytes, sizes.seconds, [&](uint64_t offset) {
    const ssize_t written = pwrite(file.descriptor(), piece.data(), piece.size(), static_cast<off_t>(offset));
    const bool is_due = !direct && (offset + piece.size()) % kSyncBytes == 0;
    return written > 0 && is_due && !sync() ? ssize_t{-1} : written;
  });
  const double begin = now_seconds();
  if (done.error_number == 0 && !sync()) done.error_number = errno;
  done.seconds += now_seconds() - begin;
  return done;
}

Transfer read_file(const NamelessFile& file, std::span<std::byte> piece, uint64_t bytes, double limit) {
  posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  return transfer(bytes, limit, [&](uint64_t offset) {
    return pread(file.descriptor(), piece.data(), piece.size(), static_cast<off_t>(offset));
  });
}

// A file system may accept the flag and refuse the write.
bool direct_io_works(const NamelessFile& file, std::span<const std::byte> piece) {
  if (file.use_direct_io(true) && pwrite(file.descriptor(), piece.data(), piece.size(), 0) > 0) return true;
  file.use_direct_io(false);
  return false;
}

std::string system_problem(const DiskRates& rates, const char* what, int error_number) {
  return fmt::format("{}: {}: {}", rates.folder, what, std::strerror(error_number));
}

}  // namespace

DiskRates measure_disk(const std::string& folder, const DiskSizes& sizes) {
  const fs::path place = nearest_folder(folder);
  DiskRates rates{.folder = place.string()};
  std::error_code error;
  const fs::space_info space = fs::space(place, error);
  if (!error) rates.free_bytes = space.available;
  DiskSizes bounded = sizes;
  bounded.most_bytes = std::min(sizes.most_bytes, rates.free_bytes / 10) / kPieceBytes * kPieceBytes;
  if (bounded.most_bytes < kLeastBytes) {
    rates.problem = fmt::format("{}: only {} free; free some, or give another --output-dir", rates.folder,
                                format_bytes(rates.free_bytes));
    return rates;
  }
  Arena arena("probe: disk", kPieceBytes);
  const std::span<std::byte> piece = arena.allocate(kPieceBytes);
  for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<std::byte>(i * i >> 8);  // not all zero
  const NamelessFile file(place);
  if (file.descriptor() < 0) {
    rates.problem = system_problem(rates, "cannot write there", errno);
    return rates;
  }
  rates.direct_io = direct_io_works(file, piece);
  const Transfer written = write_file(file, piece, bounded, rates.direct_io);
  const Transfer read = read_file(file, piece, written.bytes, sizes.seconds);
  const int error_number = written.error_number != 0 ? written.error_number : read.error_number;
  if (error_number != 0 || written.bytes == 0 || read.bytes == 0) {
    rates.problem = system_problem(rates, "the probe's file failed", error_number != 0 ? error_number : EIO);
    return rates;
  }
  rates.bytes = written.bytes;
  rates.write_gbps = rate_gbps(written);
  rates.read_gbps = rate_gbps(read);
  return rates;
}

}  // namespace penstock
