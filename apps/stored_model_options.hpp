// SPDX-License-Identifier: Apache-2.0
// Shared by the commands that use a trained model: their options, and where they run.
#pragma once

#include <functional>
#include <string>

#include "apps/options.hpp"
#include "comm/communicator.hpp"
#include "infer/stored_model.hpp"

namespace rondo {

void add_checkpoint_option(CLI::App& command, std::string& checkpoint);
/// Adds --device and --threads.
void add_machine_options(CLI::App& command, std::string& device, int& threads);

/// The device for a value of --device: `auto` chooses one that supports the model's precision.
/// Throws ConfigError if the named device does not.
DeviceChoice device_for(const std::string& word, const StoredModelInfo& model);

/// Runs body over all ranks if a launcher started this process, otherwise without MPI. @returns the exit code
int run_where_started(const std::function<int(const Communicator&)>& body);

}  // namespace rondo
