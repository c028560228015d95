// SPDX-License-Identifier: Apache-2.0
// An HDF5 file: opened only if nothing in it refers to other files, written in one format whatever the library's version.
// Serial without MPI, or collective over the ranks of a communicator.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.hpp"
#include "core/error.hpp"
#include "io/hdf5_dataset.hpp"
#include "io/hdf5_handle.hpp"

namespace rondo {

struct Hdf5FileOptions {
  /// Selects DataError or CheckpointError.
  ErrorKind error_kind = ErrorKind::Data;
  /// With more than one rank, all ranks open the file through MPI-IO, and every call on it is collective.
  const Communicator* ranks = nullptr;
  /// Advice in the error for a file that is not HDF5.
  std::string advice = {};
};

struct Hdf5DatasetOptions {
  /// Rows per chunk; a dataset is chunked unless `contiguous`, since HDF5 has checksums only for chunks. @pre > 0
  std::int64_t chunk_rows = 1;
  /// One plain array without checksums, which ranks can write in pieces of any shape.
  bool contiguous = false;
  bool unlimited_rows = false;
  /// 0: not compressed; 1 to 9: shuffle and deflate.
  int deflate_level = 0;
  /// Bytes of chunks kept in memory for partial writes; 0 leaves HDF5's default of 1 MiB.
  std::size_t chunk_cache_bytes = 0;
};

/// The file cannot be read now because a program has it open for writing. A DataError even for a checkpoint's file, which must
/// not be mistaken for a damaged one.
struct FileInUse : DataError {
  using DataError::DataError;
};

class Hdf5File {
 public:
  /// Creates a new file; an existing one is replaced.
  static Hdf5File create(const std::filesystem::path& path, const Hdf5FileOptions& options = {});
  /// Opens for reading; throws FileInUse while a program writes to the file. Before it reads any dataset, it refuses external
  /// and soft links, external storage, virtual datasets, stored types, element types that Rondo does not read, and filters
  /// other than shuffle, deflate and Fletcher32.
  static Hdf5File open(const std::filesystem::path& path, const Hdf5FileOptions& options = {});

  const std::filesystem::path& path() const { return path_; }

  /// @param name  e.g. "train/tokens"; intermediate groups are created. Chunked datasets always have Fletcher32 checksums.
  Hdf5Dataset create_dataset(const std::string& name, Hdf5Type type, const std::vector<std::int64_t>& extents,
                             const Hdf5DatasetOptions& options);
  Hdf5Dataset open_dataset(const std::string& name) const;
  bool has(const std::string& name) const;
  /// Full names without the leading slash, in name order.
  std::vector<std::string> dataset_names() const;

  /// Writes text of any length as a dataset of bytes with a checksum, unlike an attribute. Collective: rank 0 writes.
  void write_text(const std::string& name, std::string_view text);
  std::string read_text(const std::string& name) const;

  /// @param object  a dataset or group, "/" for the file itself. Text of up to 32 KiB
  void write_attribute(const std::string& object, const std::string& name, const std::string& text);
  void write_attribute(const std::string& object, const std::string& name, std::int64_t value);
  /// Text of fixed or variable length, up to 32 KiB.
  std::string read_text_attribute(const std::string& object, const std::string& name) const;
  std::int64_t read_integer_attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;

  void flush();
  /// Flushes and closes; throws what failed. @pre its datasets are closed
  void close();
  /// Abandons the file without closing it. @pre all its datasets are abandoned
  void abandon() noexcept { handle_.abandon(); }

 private:
  Hdf5File(std::filesystem::path path, const Hdf5FileOptions& options);
  std::string where(const std::string& object) const { return path_.string() + ":" + object; }
  Hdf5Handle open_object(const std::string& object) const;
  Hdf5Handle open_attribute(const std::string& object, const std::string& name) const;
  void write_attribute_value(const std::string& object, const std::string& name, Hdf5Id type, const void* value);
  bool is_collective() const { return num_ranks_ > 1; }

  std::filesystem::path path_;
  ErrorKind kind_ = ErrorKind::Data;
  int rank_ = 0;
  int num_ranks_ = 1;
  Hdf5Handle handle_;
};

/// Whether it is an HDF5 file whose attribute `format`, which Rondo writes to all its files, is `format`. Throws FileInUse.
bool has_hdf5_format(const std::filesystem::path& path, std::string_view format);

}  // namespace rondo
