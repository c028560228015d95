// SPDX-License-Identifier: Apache-2.0
// Which kernels attention is computed with, known before the first step.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// A line each, with the reason, in one order and alike on all ranks; none where a backend has no choice. Asked for are the
/// blocks of a sequence of one document, and with `has_documents` those of one that a border cuts. Collective.
/// @throws ConfigError, agreed, when parallel.attention_kernel asks for a kernel that cannot compute one of them
std::vector<std::string> choose_attention_kernels(Runtime& runtime, const RunConfig& config, bool has_documents);

}  // namespace rondo
