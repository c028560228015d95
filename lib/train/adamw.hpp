// SPDX-License-Identifier: Apache-2.0
// AdamW over all parameters (Loshchilov and Hutter, arXiv 1711.05101). It owns the moments, nothing else.
#pragma once

#include <vector>

#include "config/train_config.hpp"
#include "model/parameter_set.hpp"

namespace rondo {

inline constexpr std::int64_t kNumMoments = 2;

struct Moments {
  TensorView moment_1;  // shape of the parameter, type of its master value
  TensorView moment_2;
};

class AdamW {
 public:
  AdamW(Execution& execution, ParameterSet& parameters);

  /// Updates every parameter once from its gradient * gradient_scale. @param step 1 for the first update
  void update(const TrainConfig& config, std::int64_t step, double gradient_scale);
  /// The moments, in the order of the parameters.
  const std::vector<Moments>& moments() const { return moments_; }

 private:
  Execution& execution_;
  ParameterSet& parameters_;
  Buffer memory_;
  std::vector<Moments> moments_;
};

}  // namespace rondo
