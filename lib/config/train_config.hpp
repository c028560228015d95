// SPDX-License-Identifier: Apache-2.0
// [train]: the length of training, the batch, the learning rate schedule and the optimizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/words.hpp"

namespace rondo {

enum class ScheduleKind { Cosine, Linear, Constant };
constexpr auto words_of(ScheduleKind) {
  return std::to_array<Word<ScheduleKind>>(
      {{ScheduleKind::Cosine, "cosine"}, {ScheduleKind::Linear, "linear"}, {ScheduleKind::Constant, "constant"}});
}

struct TrainConfig {
  std::int64_t steps = 0;
  std::int64_t batch_sequences = 1;  // per step, over all ranks
  std::int64_t seed = 1;
  double learning_rate = 0.0;
  double gate_learning_rate = 0.01;  // for the gates of compressive memories, with the same schedule
  double minimum_learning_rate_fraction = 0.1;
  std::int64_t warmup_steps = 0;
  ScheduleKind schedule = ScheduleKind::Cosine;
  double beta_1 = 0.9;
  double beta_2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;             // 0: no clipping
  std::optional<bool> deterministic;  // empty: auto, on for CPUs and off for GPUs
  std::string initialise_from;        // a checkpoint whose weights start the run at step 0
  double time_limit = 0.0;            // seconds, 0: none
  double stall_timeout = 0.0;         // seconds, 0: that of StallLimit

  bool operator==(const TrainConfig&) const = default;
};

}  // namespace rondo
