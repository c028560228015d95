// SPDX-License-Identifier: Apache-2.0
// The folder of a run's checkpoints: step-N/ holds state.h5 and commit.json. Writes new ones, finds the newest valid one,
// removes old ones. A checkpoint without a valid commit record does not exist; nothing is ever changed in place.
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

/// Rows of one tensor: those this rank owns, or is to receive. All rows on every rank where states are
/// replicated; ranges of whole chunks (checkpoint_chunk_rows) where they are sharded; none is allowed.
struct NamedTensor {
  std::string name;
  Shape global_shape;  // 1 to 4 dimensions, none 0
  DType dtype = DType::Fp32;
  std::int64_t first_row = 0;
  TensorView rows;               // [rows, global_shape[1], ...]
  HostAccess* access = nullptr;  // how the host reaches the rows, which outlives this; null: they are in host memory
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

/// Does the folder hold one checkpoint? One that lost a file counts, so that it is named when it is refused.
bool is_checkpoint_folder(const std::filesystem::path& folder);

/// All calls with a communicator are collective: every rank brings the same step, names, shapes and metadata, and all
/// ranks throw the same CheckpointError.
class CheckpointStore {
 public:
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path step_folder(std::int64_t step) const;
  /// Steps that have a folder, ascending; whether they are valid is another question.
  std::vector<std::int64_t> steps() const;

  /// Throws what write() would throw for want of room or permission, now that little is lost. Nothing stays in the folder.
  void require_room(const Communicator& ranks, std::span<const NamedTensor> tensors, const std::string& metadata) const;
  /// Writes and commits one checkpoint; on an error everything that was there before is still there.
  /// Does nothing when the same state is already committed for this step.
  void write(const Communicator& ranks, std::int64_t step, std::span<const NamedTensor> tensors,
             const std::string& metadata) const;

  /// The newest checkpoint whose record, sizes and digests are all right, read in full by all ranks together. Those that are
  /// not right are reported on the way. @throws when there are checkpoints but none is valid, or when the newest is not and
  /// `fall_back` is false
  std::optional<std::int64_t> newest_valid(const Communicator& ranks, bool fall_back = true) const;

  /// Removes all but the newest `keep` committed checkpoints, after the newest one was verified. @pre keep >= 1
  void prune(const Communicator& ranks, int keep) const;
  /// Removes what an interrupted save left behind. To be called once at start.
  void remove_leftovers(const Communicator& ranks) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace rondo
