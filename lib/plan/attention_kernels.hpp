// SPDX-License-Identifier: Apache-2.0
// Which kernels compute attention, decided before the first step.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Offsets of the documents in a sequence of a corpus that has the most documents; the first is 0, the last `sequence_tokens`.
/// @param offsets of all documents of the corpus
std::vector<std::int64_t> densest_documents(std::span<const std::int64_t> offsets, std::int64_t sequence_tokens);

/// @returns a line per kernel with the reason, in the same order on all ranks; nothing if the backend has only one kernel.
/// Covers the blocks of a sequence of one document and of a sequence with the given documents. Collective.
/// @throws ConfigError, agreed, if parallel.attention_kernel names a kernel that cannot compute one of these blocks
std::vector<std::string> choose_attention_kernels(Runtime& runtime, const RunConfig& config,
                                                  std::span<const std::int64_t> documents);

}  // namespace rondo
