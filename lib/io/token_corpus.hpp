// SPDX-License-Identifier: Apache-2.0
// A finished corpus, opened for reading without MPI and checked before use. Tokens are read in ranges; document offsets are
// held in memory, 8 bytes per document, and so are target ranges, 16 bytes each, if the corpus records them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/corpus_format.hpp"
#include "io/hdf5_file.hpp"
#include "io/output_file.hpp"
#include "io/target_ranges.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

/// Not thread-safe.
class TokenCorpus {
 public:
  /// Throws DataError when the file is missing, is not a corpus, or contradicts itself.
  explicit TokenCorpus(const std::string& path);

  const std::string& path() const { return path_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::string& tokenizer_digest() const { return tokenizer_digest_; }
  std::int64_t vocabulary_size() const { return tokenizer_->vocabulary_size(); }
  /// How the validation split was chosen, in words.
  const std::string& split_rule() const { return split_rule_; }
  /// The options of the long-range task that made it, as JSON; empty: made from text.
  const std::string& task() const { return task_; }

  std::int64_t num_tokens(Split split) const { return part(split).offsets.back(); }
  std::int64_t num_documents(Split split) const { return static_cast<std::int64_t>(part(split).offsets.size()) - 1; }
  /// Ascending, from 0 to num_tokens(split).
  std::span<const std::int64_t> document_offsets(Split split) const { return part(split).offsets; }
  /// Whether the corpus records which tokens are targets; if it does not, all are.
  bool records_targets(Split split) const { return part(split).records_targets; }
  /// Ascending, not touching, within the split's tokens; empty if none are recorded.
  std::span<const TargetRange> target_ranges(Split split) const { return part(split).target_ranges; }
  /// The document that holds the token, by bisection. @pre 0 <= token < num_tokens(split)
  std::int64_t document_of(Split split, std::int64_t token) const;
  std::string document_name(Split split, std::int64_t document) const;
  /// The recorded digest of the split's tokens; must be equal on all ranks of a run, and when it is resumed.
  const std::string& tokens_digest(Split split) const { return part(split).tokens_digest; }

  /// Reads the tokens [first, first + to.size()). Throws DataError for ranges outside the split, checksum failures, and ids not
  /// in the vocabulary. Allocates nothing beyond a fixed buffer.
  void read_tokens(Split split, std::int64_t first, std::span<std::int32_t> to) const;

 private:
  struct Part {
    Hdf5Dataset tokens;
    std::vector<std::int64_t> offsets;
    std::string tokens_digest;
    bool records_targets = false;
    std::vector<TargetRange> target_ranges = {};
  };
  const Part& part(Split split) const { return parts_[split == Split::Train ? 0 : 1]; }
  Part open_part(Split split) const;
  std::string read_tokenizer();
  void read_targets(Split split, Part& part) const;

  std::string path_;
  Hdf5File file_;
  std::string tokenizer_digest_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string split_rule_, task_;
  std::array<Part, 2> parts_;
  mutable std::vector<std::byte> buffer_;
};

/// Corpora of any version, which an output may replace.
OutputKind corpus_kind();

/// Reads every dataset and compares it with its recorded digest. Throws DataError that names each dataset that differs.
/// @returns the number of bytes read
std::int64_t verify_corpus(const std::string& path);

}  // namespace rondo
