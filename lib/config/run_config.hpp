// SPDX-License-Identifier: Apache-2.0
// The whole configuration of a run as plain data: one struct per TOML table, with members named as the keys.
// Reading, checking and printing are in config/load.hpp, validate.hpp, resolve.hpp and print.hpp.
#pragma once

#include "config/data_config.hpp"
#include "config/memory_config.hpp"
#include "config/model_config.hpp"
#include "config/output_config.hpp"
#include "config/parallel_config.hpp"
#include "config/precision_config.hpp"
#include "config/train_config.hpp"

namespace rondo {

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  ParallelConfig parallel;
  MemoryConfig memory;
  PrecisionConfig precision;
  CheckpointConfig checkpoint;
  EvaluateConfig evaluate;
  LogConfig log;

  bool operator==(const RunConfig&) const = default;
};

}  // namespace rondo
