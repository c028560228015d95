// SPDX-License-Identifier: Apache-2.0
// Writes the tensors of a checkpoint to one HDF5 file: all ranks together, each chunk by one rank that owns it. Knows nothing
// of commits: checkpoint_store calls it for a folder that is not committed yet.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "io/checkpoint_record.hpp"
#include "io/checkpoint_store.hpp"

namespace rondo {

/// Consecutive chunks of one tensor, written by one rank in one call.
struct ChunkRun {
  std::int64_t first_chunk = 0;
  std::int64_t num_chunks = 0;
  int writer = 0;
};

/// Which rank writes which chunks: the same on every rank.
struct CheckpointPlan {
  std::vector<CheckpointDataset> datasets;  // with the digests of all chunks, from the memory of their writers
  std::vector<std::vector<ChunkRun>> runs;  // per dataset
};

/// Distributes the chunks round-robin over the ranks that own them, and computes their digests. Collective.
CheckpointPlan plan_checkpoint(const Communicator& ranks, std::span<const NamedTensor> tensors);

/// Reserves space for `path`, writes it and syncs it. Collective: all ranks throw alike, and after an agreed error the file is
/// closed, invalid, and safe to remove.
void write_checkpoint_file(const Communicator& ranks, const std::filesystem::path& path, const CheckpointPlan& plan,
                           std::span<const NamedTensor> tensors, const std::string& metadata);

}  // namespace rondo
