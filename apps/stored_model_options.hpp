// SPDX-License-Identifier: Apache-2.0
// What the commands that use a trained model share: their options, and where they run.
#pragma once

#include <functional>
#include <string>

#include "apps/options.hpp"
#include "comm/communicator.hpp"
#include "infer/stored_model.hpp"

namespace rondo {

void add_checkpoint_option(CLI::App& command, std::string& checkpoint);
/// --device and --threads.
void add_machine_options(CLI::App& command, std::string& device, int& threads);

/// The device that a word of --device stands for: `auto` is what can compute in the model's precision.
/// Throws ConfigError when the device cannot.
DeviceChoice device_for(const std::string& word, const StoredModelInfo& model);

/// Runs body over all ranks when a launcher started this process, and else without MPI. @returns the exit code
int run_where_started(const std::function<int(const Communicator&)>& body);

}  // namespace rondo
