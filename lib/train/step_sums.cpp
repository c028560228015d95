// SPDX-License-Identifier: Apache-2.0
#include "train/step_sums.hpp"

#include <cmath>

#include "core/device_trace.hpp"
#include "core/trace.hpp"

namespace rondo {

StepSums::StepSums(Execution& execution, const ParameterSet& parameters, std::int64_t num_micro_batches)
    : execution_(execution),
      parameters_(parameters),
      num_micro_batches_(num_micro_batches),
      num_parameters_(static_cast<std::int64_t>(parameters.parameters().size())),
      sums_(execution.device, DType::Fp64, {num_micro_batches_ + 2 * num_parameters_}, MemoryUse::Workspace),
      host_sums_(execution.device, sums_.size_bytes()) {}

void StepSums::clear() { execution_.device.fill_zero(execution_.compute, sums_.data(), sums_.size_bytes()); }

void StepSums::add_losses(std::int64_t micro_batch, const TensorView& losses) {
  double* sum = sums_.view().as<double>() + micro_batch;
  execution_.backend.sum(execution_.compute, {losses, SumArgs::Power::One, sum});
}

void StepSums::sum_squares(Of whose) {
  TraceScope trace("step_sums.sum_squares");
  double* sum = sums_.view().as<double>() + first_of(whose);
  for (const Parameter& parameter : parameters_.parameters()) {
    execution_.backend.sum(execution_.compute, {parameter.gradient, SumArgs::Power::Two, sum++});
  }
}

void StepSums::fetch() {
  TraceScope trace("step_sums.fetch");
  execution_.device.copy(execution_.compute, host_sums_.data(), sums_.data(), sums_.size_bytes());
  execution_.device.synchronize(execution_.compute);
  read_device_trace();
}

double StepSums::at(std::int64_t index) const { return reinterpret_cast<const double*>(host_sums_.data())[index]; }

double StepSums::loss() const {
  double total = 0;
  for (std::int64_t i = 0; i < num_micro_batches_; ++i) total += at(i);
  return total;
}

std::optional<std::int64_t> StepSums::non_finite_micro_batch() const {
  for (std::int64_t i = 0; i < num_micro_batches_; ++i) {
    if (!std::isfinite(at(i))) return i;
  }
  return std::nullopt;
}

double StepSums::gradient_norm() const {
  double total = 0;
  for (std::int64_t i = 0; i < num_parameters_; ++i) total += at(first_of(Of::AllRanks) + i);
  return std::sqrt(total);
}

std::optional<std::string> StepSums::non_finite_origin() const {
  const Parameter* origin = nullptr;
  for (std::int64_t i = 0; i < num_parameters_; ++i) {
    const Parameter& parameter = parameters_.parameters()[static_cast<std::size_t>(i)];
    const bool is_finite = std::isfinite(at(first_of(Of::ThisRank) + i));
    if (!is_finite && (origin == nullptr || parameter.layer >= origin->layer)) origin = &parameter;
  }
  return origin == nullptr ? std::nullopt : std::optional(origin->name);
}

double clip_factor(double norm, double clip_norm) { return clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1.0; }

}  // namespace rondo
