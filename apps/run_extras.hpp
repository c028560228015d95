// SPDX-License-Identifier: Apache-2.0
// What a training run may do before training: check Ring Attention.
#pragma once

#include "config/run_config.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Collective: compares ring attention over these ranks with the reference. Throws AgreedError when they differ.
void self_check(Runtime& runtime, const RunConfig& config);

}  // namespace rondo
