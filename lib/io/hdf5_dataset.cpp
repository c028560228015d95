// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_dataset.hpp"

#include <array>
#include <hdf5.h>
#include <utility>

#include "io/hdf5_types.hpp"

namespace rondo {

namespace {

constexpr int kMaxAxes = 8;
using Extents = std::array<hsize_t, kMaxAxes>;

/// A one-dimensional dataspace of `count` elements, whatever the shape of the dataset.
Hdf5Handle flat_space(std::int64_t count, ErrorKind kind, const std::string& where) {
  const hsize_t extent = static_cast<hsize_t>(count == 0 ? 1 : count);
  Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), kind, "describing the memory", where);
  if (count == 0) check_hdf5(H5Sselect_none(space.id()), kind, "selecting nothing", where);
  return space;
}

}  // namespace

Hdf5Dataset::Hdf5Dataset(Hdf5Handle handle, bool collective) : handle_(std::move(handle)), collective_(collective) {
  const ErrorKind kind = handle_.kind();
  const Hdf5Handle type(H5Dget_type(handle_.id()), kind, "reading the element type", where());
  const auto known = hdf5_type_in_file(type.id());
  if (!known) {
    throw_file_error(kind, "Rondo does not read " + describe_hdf5_type(type.id()), where(),
                     "it reads little-endian float16, float32, float64, int32, int64 and uint8 to uint64");
  }
  type_ = *known;

  const Hdf5Handle space(H5Dget_space(handle_.id()), kind, "reading the extents", where());
  const int axes = H5Sget_simple_extent_ndims(space.id());
  if (axes < 1 || axes > kMaxAxes) throw_file_error(kind, "the dataset must have 1 to 8 dimensions", where());
  Extents extents{};
  H5Sget_simple_extent_dims(space.id(), extents.data(), nullptr);
  for (int axis = 0; axis < axes; ++axis) extents_.push_back(static_cast<std::int64_t>(extents[axis]));

  const Hdf5Handle properties(H5Dget_create_plist(handle_.id()), kind, "reading the layout", where());
  if (H5Pget_layout(properties.id()) == H5D_CHUNKED) {
    Extents chunk{};
    check_hdf5(H5Pget_chunk(properties.id(), kMaxAxes, chunk.data()), kind, "reading the chunk shape", where());
    chunk_rows_ = static_cast<std::int64_t>(chunk[0]);
  }
}

std::int64_t Hdf5Dataset::row_count() const {
  std::int64_t product = 1;
  for (std::size_t axis = 1; axis < extents_.size(); ++axis) product *= extents_[axis];
  return product;
}

void Hdf5Dataset::resize_rows(std::int64_t num_rows) {
  ensure(num_rows >= 0, "a dataset has no negative number of rows");
  Extents extents{};
  extents_.front() = num_rows;
  for (std::size_t axis = 0; axis < extents_.size(); ++axis) extents[axis] = static_cast<hsize_t>(extents_[axis]);
  check_hdf5(H5Dset_extent(handle_.id(), extents.data()), handle_.kind(), "extending", where());
}

void Hdf5Dataset::append_bytes(const void* memory, std::int64_t count, Hdf5Type memory_type) {
  ensure(count % row_count() == 0, "whole rows are appended");
  const RowRange added{num_rows(), count / row_count()};
  resize_rows(num_rows() + added.count);
  write_rows(std::span(&added, 1), memory, count, memory_type);
}

Hdf5Handle Hdf5Dataset::select(std::span<const RowRange> ranges, std::int64_t count) const {
  Hdf5Handle space(H5Dget_space(handle_.id()), handle_.kind(), "reading the extents", where());
  check_hdf5(H5Sselect_none(space.id()), handle_.kind(), "selecting rows", where());
  std::int64_t selected = 0;
  for (const RowRange& range : ranges) {
    if (range.first < 0 || range.count < 0 || range.first + range.count > num_rows()) {
      throw_file_error(handle_.kind(),
                       "rows " + std::to_string(range.first) + " to " + std::to_string(range.first + range.count) +
                           " do not lie in a dataset of " + std::to_string(num_rows()) + " rows",
                       where());
    }
    if (range.count == 0) continue;
    Extents start{}, extent{};
    for (std::size_t axis = 1; axis < extents_.size(); ++axis) extent[axis] = static_cast<hsize_t>(extents_[axis]);
    start[0] = static_cast<hsize_t>(range.first);
    extent[0] = static_cast<hsize_t>(range.count);
    check_hdf5(H5Sselect_hyperslab(space.id(), selected == 0 ? H5S_SELECT_SET : H5S_SELECT_OR, start.data(), nullptr,
                                   extent.data(), nullptr),
               handle_.kind(), "selecting rows", where());
    selected += range.count * row_count();
  }
  ensure(selected == count, "the memory holds exactly the rows asked for");
  return space;
}

Hdf5Handle Hdf5Dataset::memory_space(std::int64_t count) const {
  // As many dimensions as the dataset: HDF5 copies blocks between equal shapes, otherwise single elements.
  Extents extents{};
  for (std::size_t axis = 0; axis < extents_.size(); ++axis) extents[axis] = static_cast<hsize_t>(extents_[axis]);
  extents[0] = static_cast<hsize_t>(count == 0 ? 1 : count / row_count());
  Hdf5Handle space(H5Screate_simple(static_cast<int>(extents_.size()), extents.data(), nullptr), handle_.kind(),
                   "describing the memory", where());
  if (count == 0) check_hdf5(H5Sselect_none(space.id()), handle_.kind(), "selecting nothing", where());
  return space;
}

Hdf5Handle Hdf5Dataset::transfer_list() const {
  Hdf5Handle list(H5Pcreate(H5P_DATASET_XFER), handle_.kind(), "making a transfer list", where());
#ifdef H5_HAVE_PARALLEL
  if (collective_) {
    check_hdf5(H5Pset_dxpl_mpio(list.id(), H5FD_MPIO_COLLECTIVE), handle_.kind(), "asking for a collective transfer",
               where());
  }
#endif
  return list;
}

void Hdf5Dataset::write_rows(std::span<const RowRange> ranges, const void* memory, std::int64_t count,
                             Hdf5Type memory_type) {
  if (count == 0 && !collective_) return;
  const Hdf5Handle file_space = select(ranges, count);
  const Hdf5Handle space = memory_space(count);
  const Hdf5Handle transfer = transfer_list();
  const std::int64_t nothing = 0;  // HDF5 requires an address even from a rank that writes no rows
  check_hdf5(H5Dwrite(handle_.id(), hdf5_native_type(memory_type), space.id(), file_space.id(), transfer.id(),
                      count == 0 ? &nothing : memory),
             handle_.kind(), "writing", where());
}

void Hdf5Dataset::read_rows(std::span<const RowRange> ranges, void* memory, std::int64_t count,
                            Hdf5Type memory_type) const {
  if (count == 0 && !collective_) return;
  const Hdf5Handle file_space = select(ranges, count);
  const Hdf5Handle space = memory_space(count);
  const Hdf5Handle transfer = transfer_list();
  std::int64_t nothing = 0;
  check_hdf5(H5Dread(handle_.id(), hdf5_native_type(memory_type), space.id(), file_space.id(), transfer.id(),
                     count == 0 ? &nothing : memory),
             handle_.kind(), "reading", where());
}

Hdf5Handle Hdf5Dataset::select_boxes(std::span<const Hdf5Box> boxes, std::int64_t count) const {
  Hdf5Handle space(H5Dget_space(handle_.id()), handle_.kind(), "reading the extents", where());
  check_hdf5(H5Sselect_none(space.id()), handle_.kind(), "selecting a box", where());
  std::int64_t selected = 0;
  for (const Hdf5Box& box : boxes) {
    const std::size_t axes = extents_.size();
    ensure(box.first.size() == axes && box.stride.size() == axes && box.count.size() == axes,
           "a box has as many axes as its dataset");
    Extents first{}, stride{}, extent{};
    std::int64_t elements = 1;
    for (std::size_t axis = 0; axis < axes; ++axis) {
      const std::int64_t last = box.first[axis] + (box.count[axis] - 1) * box.stride[axis];
      ensure(box.first[axis] >= 0 && box.stride[axis] > 0 && box.count[axis] > 0 && last < extents_[axis],
             "a box lies in its dataset");
      first[axis] = static_cast<hsize_t>(box.first[axis]);
      stride[axis] = static_cast<hsize_t>(box.stride[axis]);
      extent[axis] = static_cast<hsize_t>(box.count[axis]);
      elements *= box.count[axis];
    }
    check_hdf5(H5Sselect_hyperslab(space.id(), selected == 0 ? H5S_SELECT_SET : H5S_SELECT_OR, first.data(),
                                   stride.data(), extent.data(), nullptr),
               handle_.kind(), "selecting a box", where());
    selected += elements;
  }
  ensure(selected == count, "the memory holds exactly the boxes asked for");
  return space;
}

void Hdf5Dataset::write_boxes(std::span<const Hdf5Box> boxes, const void* memory, std::int64_t count,
                              Hdf5Type memory_type) {
  if (count == 0 && !collective_) return;
  const Hdf5Handle file_space = select_boxes(boxes, count);
  const Hdf5Handle space = flat_space(count, handle_.kind(), where());
  const Hdf5Handle transfer = transfer_list();
  const std::int64_t nothing = 0;
  check_hdf5(H5Dwrite(handle_.id(), hdf5_native_type(memory_type), space.id(), file_space.id(), transfer.id(),
                      count == 0 ? &nothing : memory),
             handle_.kind(), "writing", where());
}

void Hdf5Dataset::read_boxes(std::span<const Hdf5Box> boxes, void* memory, std::int64_t count,
                             Hdf5Type memory_type) const {
  if (count == 0 && !collective_) return;
  const Hdf5Handle file_space = select_boxes(boxes, count);
  const Hdf5Handle space = flat_space(count, handle_.kind(), where());
  const Hdf5Handle transfer = transfer_list();
  std::int64_t nothing = 0;
  check_hdf5(H5Dread(handle_.id(), hdf5_native_type(memory_type), space.id(), file_space.id(), transfer.id(),
                     count == 0 ? &nothing : memory),
             handle_.kind(), "reading", where());
}

void Hdf5Dataset::flush() { check_hdf5(H5Dflush(handle_.id()), handle_.kind(), "flushing", where()); }

void Hdf5Dataset::close() { handle_.close(); }

}  // namespace rondo
