// SPDX-License-Identifier: Apache-2.0
// Runs of tokens as plain data, given to kernels by value.
#pragma once

#include "core/token_runs.hpp"

namespace rondo::cuda {

/// TokenRuns without the parts that only the host can use.
struct DeviceRuns {
  TokenRun runs[TokenRuns::kMaxRuns];
  int num_runs;

  /// Global position of a local token.
  __device__ std::int64_t global_of(std::int64_t local) const {
    int run = num_runs - 1;
    while (run > 0 && runs[run].local_first > local) --run;
    return runs[run].global_of(local - runs[run].local_first);
  }
};

inline DeviceRuns device_runs(const TokenRuns& runs) {
  DeviceRuns plain{.runs = {}, .num_runs = runs.num_runs()};
  for (int run = 0; run < runs.num_runs(); ++run) plain.runs[run] = runs[run];
  return plain;
}

}  // namespace rondo::cuda
