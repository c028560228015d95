// SPDX-License-Identifier: Apache-2.0
// What the host must know of a step before its update: the loss of each micro-batch, and the squares of the gradients before and
// after they are summed over the ranks. Gathered on the device, and read in the one wait of a step.
#pragma once

#include <optional>
#include <string>

#include "model/parameter_set.hpp"

namespace rondo {

class StepSums {
 public:
  /// Both outlive this. @param num_micro_batches of one step, on this rank
  StepSums(Execution& execution, const ParameterSet& parameters, std::int64_t num_micro_batches);

  /// Asynchronous on the compute stream, as all but fetch() and what it fetched.
  void clear();
  /// @param losses [T] of some tokens of the micro-batch
  void add_losses(std::int64_t micro_batch, const TensorView& losses);
  /// The sums of the squares of the gradients as they are now.
  enum class Of { ThisRank, AllRanks };
  void sum_squares(Of whose);
  /// Waits for the compute stream. Each sum was taken once since clear().
  void fetch();

  /// Of this rank's tokens.
  double loss() const;
  /// The first whose loss on this rank is not finite.
  std::optional<std::int64_t> non_finite_micro_batch() const;
  /// Euclidean norm of the gradient over all ranks: fp64 over fixed chunks, in the order of the parameters.
  double gradient_norm() const;
  /// The parameter nearest to the loss whose gradient on this rank has a non-finite entry.
  std::optional<std::string> non_finite_origin() const;

 private:
  std::int64_t first_of(Of whose) const { return num_micro_batches_ + (whose == Of::ThisRank ? 0 : num_parameters_); }
  double at(std::int64_t index) const;

  Execution& execution_;
  const ParameterSet& parameters_;
  std::int64_t num_micro_batches_, num_parameters_;
  Buffer sums_;  // [B + 2 P] fp64: loss of each micro-batch; squares of this rank; squares of all ranks
  HostBuffer host_sums_;
};

/// min(1, clip_norm / norm), 1 for clip_norm 0 (no clipping).
double clip_factor(double norm, double clip_norm);

}  // namespace rondo
