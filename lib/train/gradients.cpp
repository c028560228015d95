// SPDX-License-Identifier: Apache-2.0
#include "train/gradients.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/trace.hpp"

namespace rondo {

namespace {

// The sum of squares of each parameter's gradient, on the host.
std::vector<double> squared_norms(Execution& e, const ParameterSet& parameters) {
  Arena::Scope scope(e.scratch);
  const auto count = static_cast<std::int64_t>(parameters.parameters().size());
  const TensorView results = e.scratch.take(DType::Fp64, {count});
  e.device.fill_zero(e.compute, results.data, results.size_bytes());
  for (std::int64_t i = 0; i < count; ++i) {
    const TensorView& gradient = parameters.parameters()[static_cast<std::size_t>(i)].gradient;
    e.backend.sum(e.compute, {gradient, SumArgs::Power::Two, results.rows(i, 1).as<double>()});
  }
  std::vector<double> squares(static_cast<std::size_t>(count));
  e.device.copy(e.compute, squares.data(), results.data, results.size_bytes());
  e.device.synchronize(e.compute);
  return squares;
}

}  // namespace

std::optional<std::string> non_finite_origin(Execution& execution, const ParameterSet& parameters) {
  TraceScope trace("gradients.non_finite_origin");
  const std::vector<double> squares = squared_norms(execution, parameters);
  const Parameter* origin = nullptr;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    const Parameter& parameter = parameters.parameters()[i];
    if (!std::isfinite(squares[i]) && (origin == nullptr || parameter.layer >= origin->layer)) origin = &parameter;
  }
  return origin == nullptr ? std::nullopt : std::optional(origin->name);
}

double gradient_norm(Execution& execution, const ParameterSet& parameters) {
  TraceScope trace("gradients.norm");
  double total = 0;
  for (double square : squared_norms(execution, parameters)) total += square;
  return std::sqrt(total);
}

double clip_factor(double norm, double clip_norm) { return clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1.0; }

}  // namespace rondo
