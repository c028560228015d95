// SPDX-License-Identifier: Apache-2.0
#include "io/atomic_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "io/hdf5_handle.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

/// An owned file descriptor; close() also reports write errors that appear only then.
class OpenFile {
 public:
  OpenFile(const fs::path& path, int flags, ErrorKind kind) : path_(path), kind_(kind) {
    do {
      descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) throw_errno(kind, "open", path, errno);
  }
  ~OpenFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  void write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t written = ::write(descriptor_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw_errno(kind_, "write", path_, errno);
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  void cut_to(std::size_t bytes) const {
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) throw_errno(kind_, "ftruncate", path_, errno);
  }
  /// Bytes allocated on the disk, which may exceed the file's length.
  std::size_t allocated_bytes() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) throw_errno(kind_, "fstat", path_, errno);
    return static_cast<std::size_t>(status.st_blocks) * 512;
  }
  std::string read(std::size_t most_bytes) const {
    std::string text;
    char block[1 << 16];
    for (;;) {
      const ssize_t got = ::read(descriptor_, block, sizeof(block));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_errno(kind_, "read", path_, errno);
      if (got == 0) return text;
      text.append(block, static_cast<std::size_t>(got));
      if (text.size() > most_bytes) {
        throw_file_error(kind_, "the file has more than " + std::to_string(most_bytes) + " bytes", path_.string());
      }
    }
  }
  void sync() const {
    while (::fsync(descriptor_) != 0) {
      if (errno == EINVAL || errno == EROFS) return;  // this file system does not support fsync
      if (errno != EINTR) throw_errno(kind_, "fsync", path_, errno);
    }
  }
  void close() {
    if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) throw_errno(kind_, "close", path_, errno);
  }

 private:
  fs::path path_;
  ErrorKind kind_;
  int descriptor_ = -1;
};

}  // namespace

void throw_errno(ErrorKind kind, std::string_view call, const fs::path& path, int code) {
  std::string advice;
  if (code == ENOSPC || code == EDQUOT)
    advice = "The disk or the quota is full: make room there, or choose another folder.";
  if (code == EACCES || code == EPERM || code == EROFS) advice = "Choose a folder that you may write to.";
  throw_file_error(kind, std::string(call) + ": " + std::strerror(code), path.string(), std::move(advice));
}

void write_new_file(const fs::path& path, std::string_view text, ErrorKind kind) {
  OpenFile file(path, O_WRONLY | O_CREAT | O_EXCL, kind);
  file.write(text);
  file.sync();
  file.close();
}

void replace_file(const fs::path& path, std::string_view text, ErrorKind kind) {
  const fs::path temporary = path.string() + "." + std::to_string(::getpid()) + ".new";
  ::unlink(temporary.c_str());
  try {
    write_new_file(temporary, text, kind);
    if (std::rename(temporary.c_str(), path.c_str()) != 0) throw_errno(kind, "rename", path, errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(path.parent_path(), kind);
}

void overwrite_file(const fs::path& path, std::string_view text, ErrorKind kind) {
  OpenFile file(path, O_WRONLY, kind);
  if (text.size() > file.allocated_bytes()) throw_errno(kind, "write", path, ENOSPC);
  file.write(text);
  file.cut_to(text.size());
  file.sync();
  file.close();
}

std::string read_file(const fs::path& path, std::size_t most_bytes, ErrorKind kind) {
  return OpenFile(path, O_RDONLY, kind).read(most_bytes);
}

void sync_file(const fs::path& path, ErrorKind kind) { OpenFile(path, O_RDONLY, kind).sync(); }

void sync_folder(const fs::path& folder, ErrorKind kind) {
  OpenFile(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY, kind).sync();
}

}  // namespace rondo
