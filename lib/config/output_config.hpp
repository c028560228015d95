// SPDX-License-Identifier: Apache-2.0
// [checkpoint], [evaluate] and [log]: what a run writes, and how often.
#pragma once

#include <cstdint>

namespace rondo {

struct CheckpointConfig {
  std::int64_t every_steps = 0;  // 0: by time only
  double every_minutes = 30.0;   // 0: by steps only
  int keep = 3;

  bool operator==(const CheckpointConfig&) const = default;
};

struct EvaluateConfig {
  std::int64_t every_steps = 0;  // 0: at the end only
  std::int64_t sequences = 16;   // of the validation split, 0: all

  bool operator==(const EvaluateConfig&) const = default;
};

struct LogConfig {
  std::int64_t every_steps = 10;
  std::int64_t trace_steps = 0;  // number of first steps of this process that are traced to trace/

  bool operator==(const LogConfig&) const = default;
};

}  // namespace rondo
