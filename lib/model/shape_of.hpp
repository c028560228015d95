// SPDX-License-Identifier: Apache-2.0
// From the resolved configuration to the sizes and types that the model is built with.
#pragma once

#include "config/run_config.hpp"
#include "core/attention_mask.hpp"
#include "core/dtype.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// @pre the configuration is resolved (config/resolve.hpp)
TransformerShape shape_of(const RunConfig& config);
/// @pre not Auto
/// What a token of the model sees.
AttentionMask::Rule mask_rule_of(const ModelConfig& model);
DType dtype_of_compute(ComputePrecision compute);

}  // namespace rondo
