// SPDX-License-Identifier: Apache-2.0
// What a training run may do beside training: check the ring first, keep a trace.
#pragma once

#include <filesystem>

#include "config/run_config.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Collective: compares ring attention over these ranks with the reference. Throws AgreedError when they differ.
void self_check(Runtime& runtime, const RunConfig& config);

/// Writes the phases kept so far, if any, to trace/rank-N.json in the run's folder.
void write_trace(const std::filesystem::path& run, int rank);

}  // namespace rondo
