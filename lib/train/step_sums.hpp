// SPDX-License-Identifier: Apache-2.0
// What the host must know of a step before its update: the loss of each micro-batch, and the sums of squared gradients before
// and after the all-reduce. They are computed on the device and fetched in the only wait of a step.
#pragma once

#include <optional>
#include <string>

#include "model/parameter_set.hpp"

namespace rondo {

class StepSums {
 public:
  /// Both references must outlive this object. @param num_micro_batches of one step, on this rank
  StepSums(Execution& execution, const ParameterSet& parameters, std::int64_t num_micro_batches);

  /// Asynchronous on the compute stream, as are add_losses() and sum_squares().
  void clear();
  /// @param losses [T] of some tokens of the micro-batch
  void add_losses(std::int64_t micro_batch, const TensorView& losses);
  /// Whose gradients sum_squares() sums: this rank's before the all-reduce, or those of all ranks after it.
  enum class Of { ThisRank, AllRanks };
  void sum_squares(Of whose);
  /// Waits for the compute stream. @pre since clear(), sum_squares() was called once for each of `Of`
  void fetch();

  /// The loss summed over this rank's tokens.
  double loss() const;
  /// The first micro-batch whose loss on this rank is not finite.
  std::optional<std::int64_t> non_finite_micro_batch() const;
  /// Euclidean norm of the gradient over all ranks, summed in fp64 over fixed chunks, in the order of the parameters.
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
