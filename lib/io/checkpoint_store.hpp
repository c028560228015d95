// SPDX-License-Identifier: Apache-2.0
// The folder of a run's checkpoints: step-N/ holds state.h5 and commit.json. Writes checkpoints, finds the newest valid one and
// removes old ones. A folder without a valid commit record is not a checkpoint; nothing is ever changed in place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "core/host_access.hpp"
#include "core/tensor_view.hpp"

namespace rondo {

/// The rows of one tensor that this rank owns or is to receive: all rows on every rank if the state is replicated, whole chunks
/// (checkpoint_chunk_rows) if it is sharded; no rows are allowed.
struct NamedTensor {
  std::string name;
  Shape global_shape;  // 1 to 4 dimensions, none 0
  DType dtype = DType::Fp32;
  std::int64_t first_row = 0;
  TensorView rows;               // [rows, global_shape[1], ...]
  HostAccess* access = nullptr;  // gives the host access to the rows, and outlives this; null: they are in host memory
};

/// All rows on every rank.
inline NamedTensor replicated(const std::string& name, const TensorView& tensor, HostAccess* access = nullptr) {
  return {.name = name,
          .global_shape = tensor.shape,
          .dtype = tensor.dtype,
          .first_row = 0,
          .rows = tensor,
          .access = access};
}

/// Whether the folder is that of one checkpoint. One that lost a file counts, so that the error names it.
bool is_checkpoint_folder(const std::filesystem::path& folder);

/// All calls with a communicator are collective: every rank passes the same step, names, shapes and metadata, and all ranks
/// throw the same CheckpointError.
class CheckpointStore {
 public:
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path step_folder(std::int64_t step) const;
  /// Steps that have a folder, ascending; they need not be valid.
  std::vector<std::int64_t> steps() const;

  /// Throws early what write() would throw for lack of space or permission. Leaves nothing in the folder.
  void require_room(const Communicator& ranks, std::span<const NamedTensor> tensors, const std::string& metadata) const;
  /// Writes and commits one checkpoint; an error leaves existing checkpoints unchanged. Does nothing when the same state is
  /// already committed for this step.
  void write(const Communicator& ranks, std::int64_t step, std::span<const NamedTensor> tensors,
             const std::string& metadata) const;

  /// The newest checkpoint whose record, sizes and digests are all valid; all ranks together read it in full. Newer invalid
  /// ones are logged. @throws when there are checkpoints but none is valid, or when the newest is not and `fall_back` is false
  std::optional<std::int64_t> newest_valid(const Communicator& ranks, bool fall_back = true) const;

  /// Verifies the newest committed checkpoint, then removes all but the newest `keep`. @pre keep >= 1
  void prune(const Communicator& ranks, int keep) const;
  /// Removes what an interrupted save left. Called once at start.
  void remove_leftovers(const Communicator& ranks) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace rondo
