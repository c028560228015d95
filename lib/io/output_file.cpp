// SPDX-License-Identifier: Apache-2.0
#include "io/output_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utility>

#include "core/error.hpp"
#include "io/atomic_file.hpp"
#include "io/hdf5_file.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const OutputRequest& request, const std::string& why, const fs::path& path,
                         const std::string& advice = {}) {
  throw DataError(why, path.string(), advice.empty() ? "give another " + request.option : advice);
}

/// The status of the file with this name, or nothing if there is none. Throws DataError if that cannot be determined.
std::optional<struct ::stat> facts_of(const OutputRequest& request, const fs::path& path) {
  struct ::stat facts {};
  if (::stat(path.c_str(), &facts) == 0) return facts;
  if (errno == ENOENT) return std::nullopt;
  if (errno == ENOTDIR) refuse(request, "what stands before the file's name is no folder", path);
  if (errno == ENAMETOOLONG) refuse(request, "the name is too long", path, "give a shorter " + request.option);
  if (errno == ELOOP) refuse(request, "is a link that leads back to itself", path);
  refuse(request, std::strerror(errno), path);
}

/// Why a file of this type is never replaced; empty for a regular file.
std::string_view special_kind(::mode_t mode) {
  if (S_ISREG(mode)) return {};
  if (S_ISDIR(mode)) return "is a folder, not a file to write";
  if (S_ISFIFO(mode)) return "is a pipe, which an output never replaces";
  if (S_ISSOCK(mode)) return "is a socket, which an output never replaces";
  return "is a device, which an output never replaces";
}

/// Follows links, so that their target is written and the links stay. @pre the links do not form a cycle
fs::path resolve_links(fs::path path) {
  std::error_code ignored;
  while (fs::is_symlink(path, ignored)) path = path.parent_path() / fs::read_symlink(path, ignored);
  return path;
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

bool is_same_file(const std::string& input, const struct ::stat& facts) {
  struct ::stat of_input {};
  const char* name = input == "-" ? "/dev/stdin" : input.c_str();
  return ::stat(name, &of_input) == 0 && of_input.st_dev == facts.st_dev && of_input.st_ino == facts.st_ino;
}

void refuse_inputs(const OutputRequest& request, const fs::path& path, const struct ::stat& facts) {
  for (const std::string& input : request.inputs) {
    if (!is_same_file(input, facts)) continue;
    refuse(request, "is input and output at once", path, "write to another " + request.option);
  }
}

/// Whether this is an unfinished HDF5 file of a killed program: it begins with HDF5's signature, or its start was never
/// written.
bool is_unfinished_file(const fs::path& path) {
  constexpr std::string_view kHdf5Signature("\x89HDF\r\n\x1a\n", 8);
  std::array<char, kHdf5Signature.size()> head{};
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return false;
  const ::ssize_t count = ::read(descriptor, head.data(), head.size());
  ::close(descriptor);
  const std::string_view found(head.data(), head.size());
  return count == 0 || (count == std::ssize(head) && (found == kHdf5Signature || found == std::string(8, '\0')));
}

}  // namespace

OutputKind hdf5_kind(std::string name, std::string format) {
  return {std::move(name),
          [format = std::move(format)](const fs::path& path) { return has_hdf5_format(path, format); }};
}

OutputFile::OutputFile(OutputRequest request) : request_(std::move(request)) {
  check_name();
  if (const auto facts = facts_of(request_, request_.path); facts && !special_kind(facts->st_mode).empty()) {
    refuse(request_, std::string(special_kind(facts->st_mode)), request_.path);
  }
  path_ = resolve_links(request_.path);
  partial_ = path_;
  partial_ += kPartialSuffix;
  check_replaceable();
  make_partial();
  discard();
}

OutputFile::~OutputFile() { discard(); }

OutputFile::OutputFile(OutputFile&& other) noexcept
    : request_(std::move(other.request_)),
      path_(std::move(other.path_)),
      partial_(std::move(other.partial_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

fs::path OutputFile::folder() const { return folder_of(path_); }

void OutputFile::check_name() const {
  if (request_.path.empty()) {
    throw ConfigError("names no file", request_.option, "give the name of the file to write");
  }
  if (!request_.path.has_filename()) refuse(request_, "names a folder, not a file to write", request_.path);
}

void OutputFile::check_replaceable() const {
  const fs::path folder = this->folder();
  const auto of_folder = facts_of(request_, folder);
  if (!of_folder) {
    refuse(request_, "the folder does not exist", folder, "make it first: mkdir -p " + folder.string());
  }
  const auto facts = facts_of(request_, path_);
  if (!facts) return;
  if (const std::string_view special = special_kind(facts->st_mode); !special.empty()) {
    refuse(request_, std::string(special), path_);
  }
  refuse_inputs(request_, path_, *facts);
  if (facts->st_size == 0 || request_.kind.recognises(path_)) return;
  refuse(request_, "exists and is not " + request_.kind.name + ", so it is not replaced", path_,
         "give another " + request_.option + ", or remove this file first");
}

void OutputFile::remove_leftover() const {
  struct ::stat facts {};
  if (::lstat(partial_.c_str(), &facts) != 0) return;
  refuse_inputs(request_, partial_, facts);
  if (!S_ISREG(facts.st_mode) || !is_unfinished_file(partial_)) {
    refuse(request_, "stands in the place of the unfinished file, but no killed program has left it", partial_,
           "move it away, or give another " + request_.option);
  }
  if (::unlink(partial_.c_str()) != 0) {
    refuse(request_, std::string("an old unfinished file cannot be removed: ") + std::strerror(errno), partial_);
  }
}

void OutputFile::make_partial() {
  remove_leftover();
  descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor_ < 0 && errno == ENAMETOOLONG) {
    refuse(request_, "the name is too long with the ending " + std::string(kPartialSuffix) + " of unfinished files",
           path_, "give a shorter " + request_.option);
  }
  if (descriptor_ < 0) throw_errno(ErrorKind::Data, "the file cannot be made", partial_, errno);
}

bool OutputFile::is_partial_mine() const {
  struct ::stat named {
  }, opened{};
  return ::lstat(partial_.c_str(), &named) == 0 && ::fstat(descriptor_, &opened) == 0 &&
         named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

void OutputFile::close() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void OutputFile::require_room(std::int64_t num_bytes) const {
  const auto refuse_size = [&](const std::string& why, std::uint64_t room_bytes) {
    refuse(request_,
           why + ": " + std::to_string(num_bytes) + " bytes are needed, " + std::to_string(room_bytes) + " are free",
           path_, "make room there, or give another " + request_.option);
  };
  struct ::rlimit limit {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < static_cast<std::uint64_t>(num_bytes)) {
    refuse_size("the limit on file sizes (ulimit -f) is too small", limit.rlim_cur);
  }
  struct ::statvfs info {};
  if (::statvfs(folder().c_str(), &info) != 0) return;  // then only writing shows whether there is room
  const std::uint64_t free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  if (free_bytes < static_cast<std::uint64_t>(num_bytes)) refuse_size("there is not enough room", free_bytes);
}

const fs::path& OutputFile::begin() {
  ensure(descriptor_ < 0, "an output is begun once");
  make_partial();
  return partial_;
}

void OutputFile::commit() {
  ensure(descriptor_ >= 0, "an output is begun before it is committed");
  if (!is_partial_mine()) {
    close();
    throw DataError("was replaced by another program while this one wrote it", partial_.string(),
                    "write one output with one program at a time");
  }
  sync_file(partial_);
  try {
    check_replaceable();
  } catch (const Error& error) {  // another file appeared after the check in the constructor
    close();
    throw DataError(error.message(), error.where(),
                    "what was to be written is whole, and is kept as " + partial_.string());
  }
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) {
    throw DataError(std::string("cannot be renamed: ") + std::strerror(errno), partial_.string());
  }
  close();
  sync_folder(folder());
}

void OutputFile::discard() noexcept {
  if (descriptor_ < 0) return;
  if (is_partial_mine()) ::unlink(partial_.c_str());
  close();
}

}  // namespace rondo
