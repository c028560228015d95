// SPDX-License-Identifier: Apache-2.0
// An owned HDF5 identifier and checks of HDF5's return values. Does not include hdf5.h, which includes mpi.h.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace rondo {

/// HDF5's hid_t.
using Hdf5Id = std::int64_t;

/// Disables HDF5's own printing, plugins and exit handler. Must be called before the first identifier is created.
void prepare_hdf5();

/// From then on no handle closes what it owns: for a process that ends because a peer failed, since closing a file of several
/// ranks waits for all of them.
void leave_hdf5_open() noexcept;
/// Whether leave_hdf5_open() was called. MPI must not be finalised then: HDF5 would close open files, and hang or crash.
bool is_hdf5_left_open() noexcept;

/// Throws DataError or CheckpointError with HDF5's error stack.
[[noreturn]] void throw_hdf5_error(ErrorKind kind, std::string_view what, std::string_view where);
/// @returns `value` when it is not negative. @throws with HDF5's error stack otherwise
Hdf5Id check_hdf5(Hdf5Id value, ErrorKind kind, std::string_view what, std::string_view where);
/// Throws DataError or CheckpointError, whichever `kind` names.
[[noreturn]] void throw_file_error(ErrorKind kind, std::string message, std::string where, std::string advice = {});

/// Owns one identifier of any kind: file, group, dataset, space, type, property list, attribute. Move-only.
/// close() throws on failure; the destructor can only log it, so anything that was written to must be closed explicitly.
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  /// Takes ownership of `id`. @throws when it is negative, which means that the call failed
  Hdf5Handle(Hdf5Id id, ErrorKind kind, std::string_view what, std::string where);
  ~Hdf5Handle();
  Hdf5Handle(Hdf5Handle&& other) noexcept;
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept;

  Hdf5Id id() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  ErrorKind kind() const { return kind_; }
  /// The file, or file and dataset, in messages.
  const std::string& where() const { return where_; }
  void close();
  /// Abandons the identifier without closing it: for a file whose close is known to fail.
  void abandon() noexcept { id_ = -1; }

 private:
  Hdf5Id id_ = -1;
  ErrorKind kind_ = ErrorKind::Data;
  std::string where_;
};

}  // namespace rondo
