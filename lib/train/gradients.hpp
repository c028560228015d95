// SPDX-License-Identifier: Apache-2.0
// What happens to gradients between backward and update: the check for non-finite numbers, the sum over
// ranks, the norm.
#pragma once

#include <optional>
#include <string>

#include "model/parameter_set.hpp"

namespace rondo {

/// The parameter nearest to the loss whose local gradient has a non-finite entry. Waits for the
/// stream.
std::optional<std::string> non_finite_origin(Execution& execution, const ParameterSet& parameters);

/// Euclidean norm of all gradients, fp64 over fixed chunks in the order of the parameters. Waits for the
/// stream.
double gradient_norm(Execution& execution, const ParameterSet& parameters);

/// min(1, clip_norm / norm), 1 for clip_norm 0 (no clipping).
double clip_factor(double norm, double clip_norm);

}  // namespace rondo
