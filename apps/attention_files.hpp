// SPDX-License-Identifier: Apache-2.0
// The files of `rondo attention`: what an input must hold, and how a rank's shard is copied between datasets in global token
// order and tensors in local order, a few MiB at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sequence_layout.hpp"
#include "io/hdf5_file.hpp"
#include "runtime/execution.hpp"

namespace rondo {

/// The sizes of an input, consistent over its datasets.
struct AttentionProblem {
  std::int64_t batch = 0;                      // B
  std::int64_t tokens = 0;                     // S
  std::int64_t heads = 0;                      // N
  std::int64_t kv_heads = 0;                   // G
  std::int64_t head_dim = 0;                   // D
  std::vector<std::int64_t> document_offsets;  // empty: one document
};

struct AttentionNeeds {
  bool d_out = false;
  bool documents = false;
  int ranks = 1;
};

/// Throws DataError or ConfigError that names the dataset and the requirement that it violates.
AttentionProblem read_problem(const Hdf5File& input, const AttentionNeeds& needs);

/// Reads and writes this rank's shard of one sequence of a batch.
class ShardIo {
 public:
  ShardIo(Execution& execution, const SequenceLayout& layout)
      : execution_(execution), layout_(layout), runs_(layout.runs(execution.ring.rank())) {}

  /// to [T, heads, D] = this rank's rows of sequence `batch` of a dataset [B, S, heads, D], rounded to the
  /// type of `to`.
  void read_tokens(const Hdf5Dataset& dataset, std::int64_t batch, const TensorView& to);
  /// The reverse of read_tokens(); the dataset has the type of `from`. Collective over the ranks of the file.
  void write_tokens(Hdf5Dataset& dataset, std::int64_t batch, const TensorView& from);
  /// Writes `from` [N, T] to a dataset [B, N, S]. Collective over the ranks of the file.
  void write_heads(Hdf5Dataset& dataset, std::int64_t batch, const TensorView& from);

 private:
  std::int64_t piece_tokens(const TensorView& rows) const;
  std::vector<TokenRun> runs_between(std::int64_t first, std::int64_t count) const;
  void write_piece(Hdf5Dataset& dataset, const std::vector<Hdf5Box>& boxes, const TensorView& from);

  Execution& execution_;
  SequenceLayout layout_;
  TokenRuns runs_;
  std::vector<std::byte> host_;
};

}  // namespace rondo
