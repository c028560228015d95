// SPDX-License-Identifier: Apache-2.0
// Room for a checkpoint: asked for and reserved before HDF5 writes, because HDF5 learns of a full disk too late, when it
// closes the file, and then cannot be used any more.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "io/checkpoint_record.hpp"

namespace rondo {

/// An upper bound of the bytes that a checkpoint takes on the disk.
std::int64_t checkpoint_bytes_needed(std::span<const CheckpointDataset> datasets, std::int64_t metadata_bytes);

/// @throws CheckpointError with path, needed and free bytes when the folder's disk is too small
void demand_free_space(const std::filesystem::path& folder, std::int64_t needed_bytes);
/// @throws CheckpointError when this process may not write files of that size (ulimit -f)
void demand_file_size(const std::filesystem::path& folder, std::int64_t needed_bytes);

/// Reserves the blocks of a file without changing its length. Where the file system cannot, writes and removes a file of
/// that size, which finds a full disk or quota but cannot keep others from filling it afterwards.
/// @throws CheckpointError when the disk or the quota has no room
void reserve_space(const std::filesystem::path& file, std::int64_t needed_bytes);
/// Gives back what was reserved behind the file's end.
void release_reserved_space(const std::filesystem::path& file);

/// Points this process' descriptors of `file` at memory, so that closing a file whose disk failed succeeds. What was not yet
/// written is lost: for files that are removed next.
void divert_writes_to_memory(const std::filesystem::path& file);

}  // namespace rondo
