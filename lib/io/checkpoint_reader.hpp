// SPDX-License-Identifier: Apache-2.0
// Reads one committed checkpoint. Every value is compared with the digests of the commit record before the caller sees it.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "comm/communicator.hpp"
#include "io/checkpoint_record.hpp"
#include "io/checkpoint_store.hpp"
#include "io/hdf5_file.hpp"

namespace rondo {

/// Each rank opens the file itself, so any number of ranks can read what any number wrote.
class CheckpointReader {
 public:
  /// Reads the record and opens the file, on this rank alone. @throws CheckpointError when they do not fit together
  explicit CheckpointReader(const std::filesystem::path& step_folder);
  /// Does the same on every rank; all ranks agree on the outcome.
  static CheckpointReader open(const Communicator& ranks, const std::filesystem::path& step_folder);

  const CheckpointRecord& record() const { return record_; }
  /// The text that was passed to CheckpointStore::write().
  std::string metadata() const;

  /// Fills the rows of every tensor; all ranks agree on the outcome. Names, shapes and types must be those of the checkpoint,
  /// which may hold more tensors. @throws CheckpointError that names file and dataset; the tensors are then undefined
  void read(const Communicator& ranks, std::span<const NamedTensor> into) const;
  /// Reads everything that was written, distributed over the ranks, and compares it with the record.
  void verify(const Communicator& ranks) const;

 private:
  void read_rows(const NamedTensor& into) const;
  Hdf5Dataset open_checked(const CheckpointDataset& expected) const;
  /// Reads one chunk into `memory` and compares its digest.
  void read_chunk(const Hdf5Dataset& dataset, const CheckpointDataset& expected, std::int64_t chunk,
                  void* memory) const;

  std::filesystem::path folder_;
  CheckpointRecord record_;
  Hdf5File file_;
};

/// The record of a committed checkpoint; checks it and the file's size. @throws CheckpointError
CheckpointRecord read_checkpoint_record(const std::filesystem::path& step_folder);

}  // namespace rondo
