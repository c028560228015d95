// SPDX-License-Identifier: Apache-2.0
// Writes a corpus under a temporary name and gives it its name only when everything is on disk. Which
// document goes where is the caller's decision.
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

/// Token ids in the element type of a corpus.
void narrow_tokens(std::span<const std::uint32_t> tokens, Hdf5Type type, std::vector<std::byte>& narrow);

/// Whether a corpus says which of its tokens are targets; without a record all are.
enum class TargetRecord { None, Ranges };

class CorpusWriter {
 public:
  /// Begins the corpus, after the checks of an OutputFile that `--output` names. Throws ConfigError or DataError.
  /// @param inputs files that the corpus is made from, none of which it may replace
  CorpusWriter(const std::filesystem::path& output, const Tokenizer& tokenizer,
               TargetRecord targets = TargetRecord::None, std::vector<std::string> inputs = {});
  /// Without commit(): removes the unfinished file.
  ~CorpusWriter();
  CorpusWriter(const CorpusWriter&) = delete;
  CorpusWriter& operator=(const CorpusWriter&) = delete;

  Hdf5Type token_type() const { return token_type_; }
  /// Where the corpus is written.
  std::filesystem::path folder() const;
  /// Tokens of the current document of this split, in the corpus's element type.
  void append(Split split, std::span<const std::byte> narrow_tokens);
  /// Tokens [first, first + count) of the split's current document are targets. @pre made with TargetRecord::Ranges;
  /// calls ascend; the document has these tokens when it ends
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
  /// Writes what is buffered, syncs, renames, syncs the folder. Throws DataError, and then the file is gone.
  void commit(const Origin& origin);

 private:
  struct State;
  class SplitWriter;

  OutputFile output_;
  Hdf5Type token_type_;
  std::unique_ptr<State> state_;  // empty once committed
};

}  // namespace rondo
