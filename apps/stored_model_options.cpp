// SPDX-License-Identifier: Apache-2.0
#include "apps/stored_model_options.hpp"

#include "apps/ranks.hpp"

namespace rondo {

void add_checkpoint_option(CLI::App& command, std::string& checkpoint) {
  command
      .add_option("--checkpoint", checkpoint,
                  "a run (its newest checkpoint, of the last stage), its checkpoints folder, or one step-N")
      ->required()
      ->type_name("DIR");
}

void add_machine_options(CLI::App& command, std::string& device, int& threads) {
  command.add_option("--device", device, "as parallel.device: auto, cpu, cuda or reference")
      ->check(CLI::IsMember({"auto", "cpu", "cuda", "reference"}))
      ->type_name("DEVICE");
  command
      .add_option("--threads", threads,
                  "threads of one rank; its cores, shared with the ranks on the same ones, if not given")
      ->check(CLI::Range(1, 4096))
      ->type_name("T");
}

DeviceChoice device_for(const std::string& word, const StoredModelInfo& model) {
  const DeviceChoice choice = *value_of<DeviceChoice>(word);
  const bool is_fp64 = model.config.precision.compute == ComputePrecision::Fp64;
  if (choice == DeviceChoice::Auto && is_fp64) return DeviceChoice::Reference;
  if (choice != DeviceChoice::Reference && choice != DeviceChoice::Auto && is_fp64) {
    throw ConfigError("the model computes in fp64, which only the device reference does", "--device " + word,
                      "leave --device out");
  }
  return choice;
}

int run_where_started(const std::function<int(const Communicator&)>& body) {
  if (!launched_by_mpi()) return body(Communicator::self());
  return run_on_ranks([&body](MpiSession& session) { return body(session.world()); });
}

}  // namespace rondo
