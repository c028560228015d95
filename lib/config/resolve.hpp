// SPDX-License-Identifier: Apache-2.0
// Turns defaults such as 0 and "auto" into concrete values, once the surroundings of a run are known.
#pragma once

#include <cstdint>

#include "config/run_config.hpp"

namespace rondo {

struct Surroundings {
  int world_size = 1;
  std::int64_t vocabulary_size = 0;  // of the corpus, 0: not known, model.vocabulary_size stays as it is
  bool has_cuda = false;             // every rank can use a GPU
  bool has_nccl = true;              // between the GPUs, if there are any
  bool has_bf16_units = false;       // matrix units of the CPU
};

/// Throws ConfigProblems when validate() does, or when the vocabulary does not hold the corpus's tokens.
/// In the result train.deterministic is decided, and no key of [model], [parallel], [memory] and [precision] is 0 or auto,
/// save window, threads, attention_kernel and what is not known.
RunConfig resolve(RunConfig config, const Surroundings& surroundings);

/// The parts that need no surroundings: kv_heads, head_dim and d_ff.
ModelConfig resolve(ModelConfig model);

}  // namespace rondo
