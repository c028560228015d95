// SPDX-License-Identifier: Apache-2.0
// A file that a command was asked to write. Whatever can refuse it is checked before the work begins; it is written under a
// temporary name beside its own and renamed when it is whole. No output replaces a file of another kind, an input of the
// command, or a device, pipe or socket.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace rondo {

/// The files that an output may replace, beside empty ones.
struct OutputKind {
  std::string name;  ///< in messages, with its article: "a corpus of Rondo"
  /// Asked about regular files that are not empty. What it throws refuses the output too.
  std::function<bool(const std::filesystem::path&)> recognises;
};

/// HDF5 files whose attribute `format` is `format`.
OutputKind hdf5_kind(std::string name, std::string format);

struct OutputRequest {
  std::filesystem::path path;
  std::string option;  ///< that named the path, in messages
  OutputKind kind;
  std::vector<std::string> inputs =
      {};  ///< files that the command reads, "-" for standard input; others are passed over
};

class OutputFile {
 public:
  /// Checks the path, links followed: it names no file, or one that may be replaced, in a folder where a file can be made (one
  /// is, and is removed). Throws ConfigError for an empty path, else DataError.
  explicit OutputFile(OutputRequest request);
  /// Without commit(): removes the unfinished file.
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;

  /// The file's own name, links followed.
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path folder() const;
  /// The name to write to after begin(): path() with kPartialSuffix.
  const std::filesystem::path& partial() const { return partial_; }
  /// Throws DataError where the disk, or this process' limit on file sizes, has no room for so many bytes.
  void require_room(std::int64_t num_bytes) const;
  /// Removes what a killed program has left, and makes an empty file of the temporary name. @returns that name
  const std::filesystem::path& begin();
  /// Forces the file to the disk and renames it. Throws DataError when another program has replaced it, or when what now has
  /// its name may not be replaced: then the finished file keeps the temporary name. @pre begin(); nothing has the file open
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
  int descriptor_ = -1;  // of the unfinished file: while it is open, no other file gets its number
};

}  // namespace rondo
