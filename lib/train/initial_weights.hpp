// SPDX-License-Identifier: Apache-2.0
// The weights of another run as the start of a new one (train.initialise_from).
#pragma once

#include <string>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "infer/stored_model.hpp"

namespace rondo {

/// Reads the weights of config.train.initialise_from: a run folder, its checkpoint folder (in both the newest valid checkpoint)
/// or one step folder. The stored model must be that of `config`, except for what extends a context: rope_*, window, attention
/// and the keys of segments and memory; gates that it lacks start closed. Collective. Throws CheckpointError, or ConfigError if
/// the model or the tokenizer differs, on all ranks alike.
/// @returns the stored model's description
StoredModelInfo read_initial_weights(const Communicator& ranks, const RunConfig& config,
                                     const std::string& tokenizer_digest, ParameterSet& parameters);

/// Throws ConfigError if a run of `here` cannot start from the weights of `there`. @param which follows "the model"
/// @param where names what the user has to change
void require_same_model(const RunConfig& there, const RunConfig& here, const std::string& which,
                        const std::string& where);

}  // namespace rondo
