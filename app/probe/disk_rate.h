// What the disk under a folder does: sequential writes and reads, past the page cache where the system allows it.
// The file has no name once it is open, so that nothing stays whatever ends the process.
#pragma once

#include <cstdint>
#include <string>

namespace penstock {

struct DiskRates {
  std::string folder;
  uint64_t free_bytes = 0;
  uint64_t bytes = 0;      // written and read
  bool direct_io = false;  // O_DIRECT works there; without it the page cache may flatter reads
  double write_gbps = 0;   // durable
  double read_gbps = 0;
  std::string problem;  // why nothing was measured; else empty

  bool is_measured() const { return problem.empty(); }
};

struct DiskSizes {
  uint64_t most_bytes = 0;
  double seconds = 3;  // for each of writing and reading; less is written where the disk is slow
};

// Never throws for what a disk or a folder may be like: `problem` says it. `folder` need not exist: the nearest folder
// above it that does is measured. Leaves nine tenths of what is free.
DiskRates measure_disk(const std::string& folder, const DiskSizes& sizes);

}  // namespace penstock
