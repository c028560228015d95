// SPDX-License-Identifier: Apache-2.0
// Disk space for a checkpoint: checked and reserved before HDF5 writes, because HDF5 detects a full disk only when it closes
// the file, and cannot be used after that.
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

/// Reserves the blocks of a file without changing its length. If the file system cannot, writes and removes a file of
/// that size, which finds a full disk or quota but cannot keep others from filling it afterwards.
/// @throws CheckpointError when the disk or the quota has no room
void reserve_space(const std::filesystem::path& file, std::int64_t needed_bytes);
/// Releases the blocks that are reserved past the end of the file.
void release_reserved_space(const std::filesystem::path& file);

/// Redirects this process' descriptors of `file` to memory, so that closing it succeeds after its disk failed. Unwritten data
/// are lost: for files that are removed next.
void divert_writes_to_memory(const std::filesystem::path& file);

}  // namespace rondo
