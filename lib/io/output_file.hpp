// SPDX-License-Identifier: Apache-2.0
// A file that a command writes. Everything that can be checked is checked before the work begins; the file is written under a
// temporary name in the same folder and renamed when it is complete. No output replaces a file of another kind, an input of the
// command, or a device, pipe or socket.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace rondo {

/// The files that an output may replace, in addition to empty ones.
struct OutputKind {
  std::string name;  ///< for messages, with its article: "a corpus of Rondo"
  /// Called for regular files that are not empty. The output is refused also if it throws.
  std::function<bool(const std::filesystem::path&)> recognises;
};

/// HDF5 files whose attribute `format` is `format`.
OutputKind hdf5_kind(std::string name, std::string format);

struct OutputRequest {
  std::filesystem::path path;
  std::string option;  ///< the option that named the path, for messages
  OutputKind kind;
  std::vector<std::string> inputs =
      {};  ///< files that the command reads, "-" for standard input; names that do not exist are ignored
};

class OutputFile {
 public:
  /// Checks that the path, after following links, names no file or one that may be replaced, in a folder where a file can be
  /// created (one is created and removed). Throws ConfigError for an empty path, DataError otherwise.
  explicit OutputFile(OutputRequest request);
  /// Removes the unfinished file unless commit() was called.
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;

  /// The file's final name, after following links.
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path folder() const;
  /// The temporary name to write to after begin(): path() with kPartialSuffix.
  const std::filesystem::path& partial() const { return partial_; }
  /// Throws DataError if the disk, or this process' limit on file sizes, has no room for `num_bytes`.
  void require_room(std::int64_t num_bytes) const;
  /// Removes what a killed program left, and creates an empty file with the temporary name. @returns that name
  const std::filesystem::path& begin();
  /// Syncs the file and renames it. Throws DataError when another program has replaced it, or when the final name now belongs
  /// to a file that may not be replaced: then the finished file keeps the temporary name. @pre begin() was called, the file is
  /// closed
  void commit();
  /// Removes the unfinished file, unless another program has replaced it.
  void discard() noexcept;

 private:
  void check_name() const;
  void check_replaceable() const;
  void remove_leftover() const;
  void make_partial();
  bool is_partial_mine() const;
  void close() noexcept;

  OutputRequest request_;
  std::filesystem::path path_, partial_;
  int descriptor_ = -1;  // the unfinished file's: while it is open, no other file gets its inode number
};

}  // namespace rondo
