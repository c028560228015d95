// SPDX-License-Identifier: Apache-2.0
// Replaces defaults such as 0 and "auto" by concrete values, once the ranks and hardware of a run are known.
#pragma once

#include <cstdint>

#include "config/run_config.hpp"

namespace rondo {

struct Surroundings {
  int world_size = 1;
  std::int64_t vocabulary_size = 0;  // of the corpus; 0: not known, model.vocabulary_size is left unchanged
  bool has_cuda = false;             // every rank can use a GPU
  bool has_nccl = true;              // between the GPUs, if there are any
  bool has_bf16_units = false;       // matrix units of the CPU
};

/// Throws ConfigProblems if validate() finds problems, or if the vocabulary is smaller than the corpus's.
/// In the result train.deterministic is set, and no key of [model], [parallel], [memory] and [precision] has "auto" or a 0 that
/// stands for a default, except threads, attention_kernel and keys whose value is not known.
RunConfig resolve(RunConfig config, const Surroundings& surroundings);

/// Replaces only the defaults that follow from other keys: kv_heads, head_dim and d_ff.
ModelConfig resolve(ModelConfig model);

}  // namespace rondo
