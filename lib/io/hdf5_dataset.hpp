// SPDX-License-Identifier: Apache-2.0
// One dataset of an HDF5 file: its type, extents and chunks; reads and writes whole rows, independently or collectively.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "io/hdf5_handle.hpp"

namespace rondo {

/// Fp16 exists only in files: it is read as Fp32, which represents all its values.
enum class Hdf5Type : std::uint8_t { UInt8, UInt16, UInt32, UInt64, Int32, Int64, Fp16, Fp32, Fp64 };

std::size_t size_of(Hdf5Type type);
std::string_view name_of(Hdf5Type type);

template <typename T> struct Hdf5TypeOf;
template <> struct Hdf5TypeOf<std::uint8_t> { static constexpr Hdf5Type value = Hdf5Type::UInt8; };
template <> struct Hdf5TypeOf<std::uint16_t> { static constexpr Hdf5Type value = Hdf5Type::UInt16; };
template <> struct Hdf5TypeOf<std::uint32_t> { static constexpr Hdf5Type value = Hdf5Type::UInt32; };
template <> struct Hdf5TypeOf<std::uint64_t> { static constexpr Hdf5Type value = Hdf5Type::UInt64; };
template <> struct Hdf5TypeOf<std::int32_t> { static constexpr Hdf5Type value = Hdf5Type::Int32; };
template <> struct Hdf5TypeOf<std::int64_t> { static constexpr Hdf5Type value = Hdf5Type::Int64; };
template <> struct Hdf5TypeOf<float> { static constexpr Hdf5Type value = Hdf5Type::Fp32; };
template <> struct Hdf5TypeOf<double> { static constexpr Hdf5Type value = Hdf5Type::Fp64; };
template <typename T> inline constexpr Hdf5Type hdf5_type_of = Hdf5TypeOf<std::remove_const_t<T>>::value;

/// The rows [first, first + count) of a dataset's first dimension.
struct RowRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// Along each axis of a dataset: `count` indices from `first`, `stride` apart.
struct Hdf5Box {
  std::vector<std::int64_t> first, stride, count;
};

class Hdf5Dataset {
 public:
  /// Called by Hdf5File. @param collective  all ranks of the file read and write together
  Hdf5Dataset(Hdf5Handle handle, bool collective);

  Hdf5Type type() const { return type_; }
  const std::vector<std::int64_t>& extents() const { return extents_; }
  /// Rows per chunk; 0 when the dataset is not chunked.
  std::int64_t chunk_rows() const { return chunk_rows_; }
  std::int64_t num_rows() const { return extents_.empty() ? 1 : extents_.front(); }
  /// Elements per row.
  std::int64_t row_count() const;
  const std::string& where() const { return handle_.where(); }

  /// @pre created with unlimited rows
  void resize_rows(std::int64_t num_rows);
  /// Appends whole rows. @pre created with unlimited rows; not collective
  template <typename T> void append(std::span<const T> values) {
    append_bytes(values.data(), static_cast<std::int64_t>(values.size()), hdf5_type_of<T>);
  }
  /// HDF5 converts between the type in memory and the one in the file.
  template <typename T> void write(RowRange rows, std::span<const T> values) {
    write_rows(std::span(&rows, 1), values.data(), static_cast<std::int64_t>(values.size()), hdf5_type_of<T>);
  }
  template <typename T> void read(RowRange rows, std::span<T> values) const {
    read_rows(std::span(&rows, 1), values.data(), static_cast<std::int64_t>(values.size()), hdf5_type_of<T>);
  }
  template <typename T> std::vector<T> read_all() const {
    std::vector<T> values(static_cast<std::size_t>(num_rows() * row_count()));
    read<T>({0, num_rows()}, values);
    return values;
  }

  /// Several disjoint ascending row ranges in one call; `memory` holds them one after the other, `count` elements. Collective
  /// if the dataset is; a rank may pass no rows.
  void write_rows(std::span<const RowRange> ranges, const void* memory, std::int64_t count, Hdf5Type memory_type);
  void read_rows(std::span<const RowRange> ranges, void* memory, std::int64_t count, Hdf5Type memory_type) const;

  /// Several disjoint boxes in one call; `memory` holds their elements in the order of the file. Collective as write_rows().
  void write_boxes(std::span<const Hdf5Box> boxes, const void* memory, std::int64_t count, Hdf5Type memory_type);
  void read_boxes(std::span<const Hdf5Box> boxes, void* memory, std::int64_t count, Hdf5Type memory_type) const;

  /// Writes what HDF5 still buffers of this dataset, so that close() has nothing left that can fail.
  void flush();
  void close();
  void abandon() noexcept { handle_.abandon(); }

 private:
  void append_bytes(const void* memory, std::int64_t count, Hdf5Type memory_type);
  /// @returns the selection of `ranges` in the file, after checking that it lies within and has `count` elements
  Hdf5Handle select(std::span<const RowRange> ranges, std::int64_t count) const;
  Hdf5Handle select_boxes(std::span<const Hdf5Box> boxes, std::int64_t count) const;
  Hdf5Handle memory_space(std::int64_t count) const;
  Hdf5Handle transfer_list() const;

  Hdf5Handle handle_;
  bool collective_ = false;
  Hdf5Type type_ = Hdf5Type::UInt8;
  std::vector<std::int64_t> extents_;
  std::int64_t chunk_rows_ = 0;
};

}  // namespace rondo
