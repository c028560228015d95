// SPDX-License-Identifier: Apache-2.0
// The weights of another run as the start of a new one (train.initialise_from).
#pragma once

#include <string>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "infer/stored_model.hpp"

namespace rondo {

/// Reads the weights of config.train.initialise_from: a run folder, its checkpoints (the newest valid one is taken) or one
/// step folder. The stored model must be the one of `config`, but for what a longer context changes: rope_* and window.
/// Collective. Throws CheckpointError, and ConfigError when the model or the tokenizer is another; alike on all ranks.
/// @returns what the weights belong to
StoredModelInfo read_initial_weights(const Communicator& ranks, const RunConfig& config,
                                     const std::string& tokenizer_digest, ParameterSet& parameters);

/// Throws ConfigError when the weights of one configuration cannot start a run of the other. @param which follows "the model"
/// @param where names what is to be changed
void require_same_model(const RunConfig& there, const RunConfig& here, const std::string& which,
                        const std::string& where);

}  // namespace rondo
