// SPDX-License-Identifier: Apache-2.0
// What happens after a step, decided by all ranks together.
#pragma once

#include <chrono>
#include <cstdint>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"

namespace rondo {

/// In the order in which they are performed: the checkpoint comes before the evaluation, which may fail.
struct StepActions {
  bool log = false;
  bool checkpoint = false;
  bool evaluate = false;
  bool finish = false;  ///< this was the last step
  bool stop = false;    ///< stop before the last step, on a signal or at the time limit, after a checkpoint
};

/// Decides StepActions. Only rank 0's clock counts; a signal on any rank counts.
class StepPlanner {
 public:
  StepPlanner(const Communicator& world, const RunConfig& config);

  /// Collective. @param signalled whether this rank received a signal to stop @param step_s how long the step took
  StepActions decide(std::int64_t step, bool signalled, double step_s);
  /// Is an evaluation due after this step? All ranks get the same answer without communication.
  bool evaluates_after(std::int64_t step) const;
  /// Records how long a checkpoint took, so that the next one ends before the time limit.
  void checkpoint_written(double save_s);

 private:
  using Clock = std::chrono::steady_clock;

  const Communicator& world_;
  const RunConfig& config_;
  Clock::time_point start_ = Clock::now(), last_checkpoint_ = Clock::now();
  double save_s_ = 0;
};

}  // namespace rondo
