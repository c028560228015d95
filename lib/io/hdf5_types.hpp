// SPDX-License-Identifier: Apache-2.0
// Private to the HDF5 wrappers of this folder: element types as HDF5 sees them. Includes hdf5.h.
#pragma once

#include <hdf5.h>
#include <optional>
#include <string>

#include "io/hdf5_dataset.hpp"

namespace rondo {

/// The type in this machine's native representation.
hid_t hdf5_native_type(Hdf5Type type);
/// Little-endian in every file, whatever machine wrote it.
hid_t hdf5_file_type(Hdf5Type type);
/// Empty for types that Rondo does not read, such as compound types or 128-bit numbers.
std::optional<Hdf5Type> hdf5_type_in_file(hid_t type);
/// A description for messages: "big-endian floating-point numbers of 4 bytes".
std::string describe_hdf5_type(hid_t type);

}  // namespace rondo
