// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_space.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

#include "core/log.hpp"
#include "io/atomic_file.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_no_space(const fs::path& path, std::int64_t needed_bytes, std::int64_t free_bytes,
                                 const std::string& what) {
  throw CheckpointError(
      what + ": " + std::to_string(needed_bytes) + " bytes are needed, " + std::to_string(free_bytes) + " are free",
      path.string(), "Older checkpoints are untouched. Make room, or choose another folder with --run, then continue.");
}

std::int64_t free_bytes_of(const fs::path& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) throw_errno(ErrorKind::Checkpoint, "statvfs", folder, errno);
  return static_cast<std::int64_t>(info.f_bavail) * static_cast<std::int64_t>(info.f_frsize);
}

/// A descriptor that is closed at the end of its scope.
struct Descriptor {
  int number;
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

/// Writes and removes a file of that size, for file systems that cannot reserve blocks: finds quotas, which statvfs does not
/// report. @returns 0 or errno
int write_probe(const fs::path& file, std::int64_t num_bytes) {
  const std::vector<char> block(1 << 20);
  const Descriptor opened(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  int code = opened.number < 0 ? errno : 0;
  for (std::int64_t done = 0; code == 0 && done < num_bytes;) {
    const auto piece = std::min<std::int64_t>(num_bytes - done, static_cast<std::int64_t>(block.size()));
    const ssize_t written = ::write(opened.number, block.data(), static_cast<std::size_t>(piece));
    if (written < 0 && errno != EINTR) code = errno;
    if (written > 0) done += written;
  }
  if (code == 0 && ::fsync(opened.number) != 0) code = errno;
  ::unlink(file.c_str());
  return code;
}

}  // namespace

std::int64_t checkpoint_bytes_needed(std::span<const CheckpointDataset> datasets, std::int64_t metadata_bytes) {
  // Per chunk: checksum and index entry in the file, and its line in the record. Per dataset: object header, chunk index pages,
  // link and the record's other lines. The rest covers the superblock, groups and free-space rounding.
  constexpr std::int64_t kPerChunk = 128, kPerDataset = 16 * 1024, kPerFile = 1 << 20;
  std::int64_t total = kPerFile + 2 * metadata_bytes;
  for (const CheckpointDataset& dataset : datasets) {
    total += dataset.num_bytes() + kPerChunk * dataset.num_chunks() + kPerDataset;
  }
  return total;
}

void demand_free_space(const fs::path& folder, std::int64_t needed_bytes) {
  const std::int64_t free_bytes = free_bytes_of(folder);
  if (free_bytes < needed_bytes)
    throw_no_space(folder, needed_bytes, free_bytes, "there is not enough room for a checkpoint");
}

void demand_file_size(const fs::path& folder, std::int64_t needed_bytes) {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      static_cast<std::int64_t>(limit.rlim_cur) < needed_bytes) {
    throw_no_space(folder, needed_bytes, static_cast<std::int64_t>(limit.rlim_cur),
                   "the limit on file sizes (ulimit -f) is too small for a checkpoint");
  }
}

void reserve_space(const fs::path& file, std::int64_t needed_bytes) {
  const Descriptor opened(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (opened.number < 0) throw_errno(ErrorKind::Checkpoint, "open", file, errno);
  int code = 0;
  do {
    code = ::fallocate(opened.number, FALLOC_FL_KEEP_SIZE, 0, needed_bytes) == 0 ? 0 : errno;
  } while (code == EINTR);
  if (code == EOPNOTSUPP || code == ENOSYS) code = write_probe(fs::path(file.string() + ".probe"), needed_bytes);
  if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
    throw_no_space(file, needed_bytes, free_bytes_of(file.parent_path()), "the disk or the quota is full");
  }
  if (code != 0) throw_errno(ErrorKind::Checkpoint, "fallocate", file, code);
}

void release_reserved_space(const fs::path& file) {
  const Descriptor opened(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  struct stat info {};
  if (opened.number < 0 || ::fstat(opened.number, &info) != 0) throw_errno(ErrorKind::Checkpoint, "open", file, errno);
  // Only shrinking a file is certain to release its blocks, so grow it by one byte first.
  if (::ftruncate(opened.number, info.st_size + 1) != 0 || ::ftruncate(opened.number, info.st_size) != 0) {
    throw_errno(ErrorKind::Checkpoint, "ftruncate", file, errno);
  }
}

void divert_writes_to_memory(const fs::path& file) {
  struct stat target {};
  if (::stat(file.c_str(), &target) != 0) return;
  const Descriptor memory(::memfd_create("rondo-diverted", MFD_CLOEXEC));
  if (memory.number < 0) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd", ignored)) {
    const int number = std::stoi(entry.path().filename().string());
    struct stat info {};
    if (::fstat(number, &info) == 0 && info.st_dev == target.st_dev && info.st_ino == target.st_ino) {
      ::dup2(memory.number, number);
      log::debug("descriptor {} of {} now writes to memory", number, file.string());
    }
  }
}

}  // namespace rondo
