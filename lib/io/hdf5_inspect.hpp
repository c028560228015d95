// SPDX-License-Identifier: Apache-2.0
// Looks through an open HDF5 file before anything is read from its datasets, and refuses what reaches outside of the file.
#pragma once

#include <string>
#include <vector>

#include "core/error.hpp"
#include "io/hdf5_handle.hpp"

namespace rondo {

/// @returns the full names of all datasets, in name order, without the leading slash
/// @throws DataError or CheckpointError that names the first object which is not plain
std::vector<std::string> list_plain_datasets(Hdf5Id file, ErrorKind kind, const std::string& path);

}  // namespace rondo
