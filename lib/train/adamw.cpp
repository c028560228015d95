// SPDX-License-Identifier: Apache-2.0
#include "train/adamw.hpp"

#include "core/trace.hpp"
#include "train/schedule.hpp"

namespace rondo {

AdamW::AdamW(Execution& execution, ParameterSet& parameters)
    : execution_(execution),
      parameters_(parameters),
      memory_(execution.device, parameters.master_dtype(), {2 * parameters.num_values()}, MemoryUse::Optimizer) {
  execution.device.fill_zero(execution.compute, memory_.data(), memory_.size_bytes());
  std::int64_t first = 0;
  for (const Parameter& parameter : parameters.parameters()) {
    const std::int64_t count = parameter.value.count();
    const auto slice = [&](std::int64_t from) {
      return memory_.view().rows(from, count).reshaped(parameter.value.shape);
    };
    moments_.push_back({slice(first), slice(first + count)});
    first += 2 * count;
  }
}

void AdamW::update(const TrainConfig& config, std::int64_t step, double gradient_scale) {
  TraceScope trace("adamw.update");
  const double gate_factor = config.gate_learning_rate / config.learning_rate;
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const Parameter& parameter = parameters_.parameters()[i];
    execution_.backend.adamw(execution_.compute,
                             {.value = parameter.value,
                              .moment_1 = moments_[i].moment_1,
                              .moment_2 = moments_[i].moment_2,
                              .gradient = parameter.gradient,
                              .compute_copy = parameter.compute_copy,
                              .gradient_scale = gradient_scale,
                              .learning_rate = learning_rate_at(config, step) * (parameter.is_gate ? gate_factor : 1.0),
                              .beta_1 = config.beta_1,
                              .beta_2 = config.beta_2,
                              .epsilon = config.epsilon,
                              .weight_decay = parameter.decays ? config.weight_decay : 0.0,
                              .step = step});
  }
}

}  // namespace rondo
