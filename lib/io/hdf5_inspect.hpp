// SPDX-License-Identifier: Apache-2.0
// Inspects an open HDF5 file before anything is read from its datasets, and refuses what refers to other files.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "io/hdf5_handle.hpp"

namespace rondo {

/// @returns the full names of all datasets, in name order, without the leading slash
/// @throws DataError or CheckpointError that names the first object that is refused
std::vector<std::string> list_plain_datasets(Hdf5Id file, ErrorKind kind, const std::string& path);

}  // namespace rondo
