// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_handle.hpp"

#include <hdf5.h>
#include <type_traits>
#include <utility>

#include "core/log.hpp"

namespace rondo {

static_assert(std::is_same_v<Hdf5Id, hid_t> || sizeof(Hdf5Id) == sizeof(hid_t));

namespace {

bool all_stays_open = false;

/// H5Idec_ref calls the close function that belongs to the identifier's type, and for files and datasets it flushes.
herr_t release(Hdf5Id id) { return H5Idec_ref(id) < 0 ? -1 : 0; }

herr_t append_frame(unsigned depth, const H5E_error2_t* frame, void* text) {
  auto& lines = *static_cast<std::string*>(text);
  if (frame->desc != nullptr && depth < 12) lines += "\n    " + std::string(frame->func_name) + ": " + frame->desc;
  return 0;
}

}  // namespace

void prepare_hdf5() {
  static const bool prepared = [] {
    // HDF5's exit handler crashes when a file could not be closed on a full disk, so files are closed explicitly.
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5PLset_loading_state(0);
    return true;
  }();
  static_cast<void>(prepared);
}

void throw_file_error(ErrorKind kind, std::string message, std::string where, std::string advice) {
  if (kind == ErrorKind::Checkpoint) throw CheckpointError(std::move(message), std::move(where), std::move(advice));
  throw DataError(std::move(message), std::move(where), std::move(advice));
}

void throw_hdf5_error(ErrorKind kind, std::string_view what, std::string_view where) {
  std::string stack;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, append_frame, &stack);
  H5Eclear2(H5E_DEFAULT);
  throw_file_error(kind, std::string(what) + " failed; HDF5 says:" + (stack.empty() ? " nothing" : stack),
                   std::string(where));
}

Hdf5Id check_hdf5(Hdf5Id value, ErrorKind kind, std::string_view what, std::string_view where) {
  if (value < 0) throw_hdf5_error(kind, what, where);
  return value;
}

Hdf5Handle::Hdf5Handle(Hdf5Id id, ErrorKind kind, std::string_view what, std::string where)
    : id_(check_hdf5(id, kind, what, where)), kind_(kind), where_(std::move(where)) {}

void leave_hdf5_open() noexcept { all_stays_open = true; }
bool is_hdf5_left_open() noexcept { return all_stays_open; }

Hdf5Handle::~Hdf5Handle() {
  if (id_ < 0 || all_stays_open || release(id_) >= 0) return;
  log::error("{}: closing failed", where_);
  leave_hdf5_open();  // HDF5 does not survive a second attempt
}

Hdf5Handle::Hdf5Handle(Hdf5Handle&& other) noexcept
    : id_(std::exchange(other.id_, -1)), kind_(other.kind_), where_(std::move(other.where_)) {}

Hdf5Handle& Hdf5Handle::operator=(Hdf5Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(kind_, other.kind_);
  std::swap(where_, other.where_);
  return *this;
}

void Hdf5Handle::close() {
  if (id_ < 0) return;
  if (release(std::exchange(id_, -1)) < 0) throw_hdf5_error(kind_, "closing", where_);
}

}  // namespace rondo
