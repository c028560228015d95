// SPDX-License-Identifier: Apache-2.0
// `rondo checkpoint info|verify`: shows what a checkpoint holds, and verifies that it is what was committed.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>
#include <string>
#include <vector>

#include "apps/commands.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/run_folder.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct CheckpointCommandOptions {
  std::string folder;
  bool json = false;
  bool tensors = false;
};

/// The step folders for a path that the user gave: a step folder, a folder of step folders, a run folder, or that of a run in
/// stages. Oldest first.
std::vector<fs::path> step_folders(const fs::path& given) {
  fs::path folder = given.has_filename() ? given : given.parent_path();
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw CheckpointError("there is no such folder", given.string(),
                          "name a run, its checkpoints folder, or one step-N in it");
  }
  if (is_checkpoint_folder(folder)) return {folder};
  const CheckpointStore store(checkpoints_of(folder));
  std::vector<fs::path> found;
  for (std::int64_t step : store.steps()) found.push_back(store.step_folder(step));
  if (found.empty())
    throw CheckpointError("there are no checkpoints here", store.folder().string(), "name a run or one step-N in it");
  return found;
}

Json describe(const fs::path& folder, const CheckpointRecord& record, bool with_tensors) {
  Json json{{"path", folder.string()},           {"step", record.step},
            {"tensors", record.datasets.size()}, {"tensor_bytes", record.tensor_bytes()},
            {"file_bytes", record.file_bytes},   {"tensors_digest", record.tensors_digest().hex()}};
  if (!with_tensors) return json;
  json["datasets"] = Json::array();
  for (const CheckpointDataset& dataset : record.datasets) {
    Json shape = Json::array();
    for (int axis = 0; axis < dataset.shape.rank(); ++axis) shape.push_back(dataset.shape[axis]);
    json["datasets"].push_back({{"name", dataset.name},
                                {"dtype", name_of(dataset.dtype)},
                                {"shape", shape},
                                {"bytes", dataset.num_bytes()},
                                {"digest", dataset.digest().hex()}});
  }
  return json;
}

void print_text(const fs::path& folder, const CheckpointRecord& record, const std::string& metadata,
                bool with_tensors) {
  std::string text = fmt::format(
      "{}\n  step            {}\n  tensors         {}, {:.1f} MiB\n  file            {:.1f} MiB\n"
      "  tensors digest  {}\n",
      folder.string(), record.step, record.datasets.size(), static_cast<double>(record.tensor_bytes()) / (1 << 20),
      static_cast<double>(record.file_bytes) / (1 << 20), record.tensors_digest().hex());
  const auto fields = Json::parse(metadata, nullptr, false);
  if (fields.is_object()) {
    for (const auto& [key, value] : fields.items()) {
      if (key == "step") continue;  // printed above, from the record
      const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
      if (shown.size() <= 80 && shown.find('\n') == std::string::npos) text += fmt::format("  {:<15} {}\n", key, shown);
    }
  }
  for (const CheckpointDataset& dataset : record.datasets) {
    if (!with_tensors) break;
    text += fmt::format("  {:<48} {} {}\n", dataset.name, name_of(dataset.dtype), to_string(dataset.shape));
  }
  std::fputs(text.c_str(), stdout);
}

int info(const CheckpointCommandOptions& options) {
  Json list = Json::array();
  for (const fs::path& folder : step_folders(options.folder)) {
    const CheckpointReader reader(folder);
    if (!options.json) {
      print_text(folder, reader.record(), reader.metadata(), options.tensors);
      continue;
    }
    list.push_back(describe(folder, reader.record(), true));
    const auto metadata = Json::parse(reader.metadata(), nullptr, false);
    list.back()["metadata"] = metadata.is_discarded() ? Json(reader.metadata()) : metadata;
  }
  if (options.json) std::printf("%s\n", Json{{"checkpoints", list}}.dump(2).c_str());
  return 0;
}

int verify(const CheckpointCommandOptions& options) {
  const Communicator self = Communicator::self();
  Json list = Json::array();
  std::size_t num_damaged = 0;
  for (const fs::path& folder : step_folders(options.folder)) {
    std::string problem;
    try {
      const CheckpointReader reader(folder);
      reader.verify(self);
      list.push_back(describe(folder, reader.record(), false));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::Checkpoint) throw;
      problem = error.what();
      ++num_damaged;
      list.push_back({{"path", folder.string()}, {"problem", problem}});
    }
    list.back()["valid"] = problem.empty();
    if (!options.json) std::printf("%s: %s\n", folder.c_str(), problem.empty() ? "valid" : problem.c_str());
  }
  if (options.json) {
    std::printf("%s\n", Json{{"valid", num_damaged == 0}, {"checkpoints", list}}
                            .dump(2, ' ', false, Json::error_handler_t::replace)
                            .c_str());
  }
  return num_damaged == 0 ? 0 : exit_code(ErrorKind::Checkpoint);
}

}  // namespace

void add_checkpoint(Program& program) {
  CLI::App* group =
      add_group(program, {"checkpoint", "Inspect and prove checkpoints.", "rondo checkpoint verify runs/quickstart"});
  const auto declare = [&](const CommandText& text, int (*action)(const CheckpointCommandOptions&)) {
    auto options = std::make_shared<CheckpointCommandOptions>();
    CLI::App* command = add_command(program, *group, text, [options, action] { return action(*options); });
    command->add_option("DIR", options->folder, "a run, its checkpoints folder, or one step-N in it")->required();
    add_json_option(*command, options->json);
    return std::pair(command, options);
  };
  const auto [info_command, info_options] =
      declare({"info", "Say what checkpoints hold: step, size, digests; --json adds the configuration.",
               "rondo checkpoint info runs/quickstart/checkpoints/step-100 --tensors"},
              info);
  info_command->add_flag("--tensors", info_options->tensors, "list every tensor with its type and shape");
  declare({"verify", "Read checkpoints in full and compare every value with the digests that were committed.",
           "rondo checkpoint verify runs/quickstart"},
          verify);
}

}  // namespace rondo
