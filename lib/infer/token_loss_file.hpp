// SPDX-License-Identifier: Apache-2.0
// The log-probability of every token of a split, in document order, as an HDF5 file. Every rank passes the losses of its shard,
// in any layout; rank 0 writes them in bounded pieces.
//
//   /log_probability   float32 or float64 [tokens of the split], natural log of p(token | what came before in its sequence);
//                      NaN where nothing was predicted: a document's first token, and what was not evaluated
//   /document_offsets  int64, first 0, ascending, last the number of tokens
//   attributes         format "rondo token losses", format_version, split, tokens_digest, sequence_length
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "infer/evaluator.hpp"
#include "io/output_file.hpp"

namespace rondo {

class TokenLossFile {
 public:
  static OutputKind kind();
  /// Begins the file. Collective. Throws DataError, alike on all ranks.
  /// @param output  on rank 0 only. @pre world and corpus outlive this
  TokenLossFile(const Communicator& world, std::optional<OutputFile> output, const EvaluationData& data, DType dtype);
  /// Removes the unfinished file unless commit() was called.
  ~TokenLossFile();
  TokenLossFile(const TokenLossFile&) = delete;
  TokenLossFile& operator=(const TokenLossFile&) = delete;

  /// Collective: every rank passes the losses of its shard of its ring's sequence, or none.
  void write(const TokenLosses& losses);
  /// Completes the file and renames it to its final name. Collective.
  void commit();

 private:
  struct File;
  struct Entry {
    std::int64_t token;  // in the split
    double log_probability;
  };
  void begin(const EvaluationData& data, DType dtype);
  void collect(const TokenLosses& losses, KeyInterval positions);
  void write_sorted(std::vector<Entry>& entries);

  const Communicator& world_;
  std::optional<OutputFile> output_;  // on rank 0
  std::int64_t sequence_length_;
  std::unique_ptr<File> file_;  // on rank 0, until commit
  std::vector<Entry> entries_;  // this rank's values in one piece
  std::vector<double> values_;  // consecutive tokens
};

}  // namespace rondo
