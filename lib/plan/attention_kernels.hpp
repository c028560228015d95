// SPDX-License-Identifier: Apache-2.0
// Which kernels attention is computed with, known before the first step.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Offsets of the documents in a sequence of a corpus that has as many as any, first 0, last `sequence_tokens`.
/// @param offsets of all documents of the corpus
std::vector<std::int64_t> densest_documents(std::span<const std::int64_t> offsets, std::int64_t sequence_tokens);

/// A line each, with the reason, in one order and alike on all ranks; none where a backend has no choice. Asked for are the
/// blocks of a sequence of one document, and those of one that has these. Collective.
/// @throws ConfigError, agreed, when parallel.attention_kernel asks for a kernel that cannot compute one of them
std::vector<std::string> choose_attention_kernels(Runtime& runtime, const RunConfig& config,
                                                  std::span<const std::int64_t> documents);

}  // namespace rondo
