// SPDX-License-Identifier: Apache-2.0
// Makes a corpus from inputs: reads, tokenises and splits off the validation split, in one pass and in constant memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/input_plan.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

struct PrepareOptions {
  std::vector<std::string> inputs;  ///< files, folders, "-"
  std::string output;
  std::optional<InputFormat> format = std::nullopt;  ///< nothing: each input by its name and content
  double validation = 0.02;                          ///< 0 <= validation <= 0.5
  std::uint64_t seed = 0;                            ///< draws the validation documents
  StopRequest stop = {};                             ///< interrupts the wait for a pipe
};

/// How the validation split was chosen.
enum class SplitRule { None, WholeDocuments, LastPartOfEach };
/// "none", "whole documents, drawn by seed", "the last part of each document"
std::string_view name_of(SplitRule rule);
/// With this number of documents or more, whole documents are drawn.
inline constexpr std::int64_t kMinDocumentsToDraw = 100;

struct PrepareProgress {
  std::int64_t num_input_bytes = 0;    ///< as stored on disk, compressed or not
  std::int64_t total_input_bytes = 0;  ///< 0: not known, because of a pipe
  std::int64_t num_tokens = 0, num_documents = 0;
};

struct PrepareResult {
  SplitRule rule = SplitRule::None;
  std::int64_t num_files = 0, num_input_bytes = 0;
  std::int64_t num_train_tokens = 0, num_validation_tokens = 0;
  std::int64_t num_train_documents = 0, num_validation_documents = 0;
  std::int64_t num_empty_documents = 0;  ///< left out
  std::int64_t num_replaced = 0;         ///< symbols that became a less exact token
  std::int64_t num_left_out = 0;         ///< entries of folders that are not inputs
  std::vector<std::string> warnings;     ///< about inputs
};

/// @param progress called after every MiB of text; what it throws ends the preparation cleanly. May be empty.
/// Throws DataError (with file and line or byte) or ConfigError, and then leaves no file behind.
PrepareResult prepare_corpus(const PrepareOptions& options, const Tokenizer& tokenizer,
                             const std::function<void(const PrepareProgress&)>& progress);

}  // namespace rondo
