// SPDX-License-Identifier: Apache-2.0
// What the host must know of a step before its update: the loss, and the squares of the gradients before and after they are
// summed over the ranks. Gathered on the device, and read in the one wait of a step.
#pragma once

#include <optional>
#include <string>

#include "model/parameter_set.hpp"

namespace rondo {

class StepSums {
 public:
  /// Both outlive this.
  StepSums(Execution& execution, const ParameterSet& parameters);

  /// Asynchronous on the compute stream, as all but fetch() and what it fetched.
  void clear();
  /// @param losses [T] of one round
  void add_losses(const TensorView& losses);
  /// Of the gradients as they are now.
  enum class Of { ThisRank, AllRanks };
  void take_squares(Of whose);
  /// Waits for the compute stream. Each sum was taken once since clear().
  void fetch();

  double loss() const { return at(0); }
  /// Euclidean norm of the gradient over all ranks: fp64 over fixed chunks, in the order of the parameters.
  double gradient_norm() const;
  /// The parameter nearest to the loss whose gradient on this rank has a non-finite entry.
  std::optional<std::string> non_finite_origin() const;

 private:
  std::int64_t first_of(Of whose) const { return whose == Of::ThisRank ? 1 : 1 + num_parameters_; }
  double at(std::int64_t index) const;

  Execution& execution_;
  const ParameterSet& parameters_;
  std::int64_t num_parameters_;
  Buffer sums_;  // [1 + 2 P] fp64: loss; squares of this rank; squares of all ranks
  HostBuffer host_sums_;
};

/// min(1, clip_norm / norm), 1 for clip_norm 0 (no clipping).
double clip_factor(double norm, double clip_norm);

}  // namespace rondo
