// SPDX-License-Identifier: Apache-2.0
// Converts the resolved configuration to the sizes and types that the model is built with.
#pragma once

#include "config/run_config.hpp"
#include "core/attention_mask.hpp"
#include "core/dtype.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// @pre the configuration is resolved (config/resolve.hpp)
TransformerShape shape_of(const RunConfig& config);
/// Which keys a token attends to in exact attention.
AttentionMask::Rule mask_rule_of(const ModelConfig& model);
/// @pre not Auto
DType dtype_of_compute(ComputePrecision compute);

}  // namespace rondo
