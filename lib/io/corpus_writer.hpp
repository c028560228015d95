// SPDX-License-Identifier: Apache-2.0
// Writes a corpus under a temporary name and renames it only when everything is on disk. The caller decides which document goes
// to which split.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/corpus_format.hpp"
#include "io/output_file.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

/// Converts token ids to the element type of a corpus.
void narrow_tokens(std::span<const std::uint32_t> tokens, Hdf5Type type, std::vector<std::byte>& narrow);

/// Whether a corpus records which of its tokens are targets; without a record all are.
enum class TargetRecord { None, Ranges };

class CorpusWriter {
 public:
  /// Begins the corpus after the checks of OutputFile, with `--output` as the option. Throws ConfigError or DataError.
  /// @param inputs  files that the corpus is made from, none of which it may replace
  CorpusWriter(const std::filesystem::path& output, const Tokenizer& tokenizer,
               TargetRecord targets = TargetRecord::None, std::vector<std::string> inputs = {});
  /// Removes the unfinished file unless commit() was called.
  ~CorpusWriter();
  CorpusWriter(const CorpusWriter&) = delete;
  CorpusWriter& operator=(const CorpusWriter&) = delete;

  Hdf5Type token_type() const { return token_type_; }
  /// The folder of the output.
  std::filesystem::path folder() const;
  /// Appends tokens, in the corpus's element type, to the current document of this split.
  void append(Split split, std::span<const std::byte> narrow_tokens);
  /// Marks tokens [first, first + count) of the split's current document as targets. @pre constructed with
  /// TargetRecord::Ranges; ranges ascend from call to call; the document has these tokens when it ends
  void add_targets(Split split, std::int64_t first, std::int64_t count);
  /// Ends the split's current document. @pre it has tokens
  void end_document(Split split, std::string_view name);
  std::int64_t num_tokens(Split split) const;
  std::int64_t num_documents(Split split) const;

  struct Origin {
    std::string split_rule;
    double validation_fraction;
    std::uint64_t seed;
    std::string task = {};  ///< empty: made from text
  };
  /// Writes what is buffered, syncs, renames and syncs the folder. Throws DataError.
  void commit(const Origin& origin);

 private:
  struct State;
  class SplitWriter;

  OutputFile output_;
  Hdf5Type token_type_;
  std::unique_ptr<State> state_;  // empty once committed
};

}  // namespace rondo
