// SPDX-License-Identifier: Apache-2.0
#include "infer/stored_model.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "config/load.hpp"
#include "config/print.hpp"
#include "io/checkpoint_metadata.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_store.hpp"
#include "io/run_folder.hpp"
#include "model/shape_of.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

/// Digest of the weights and of the [model] table.
std::string model_digest_of(const CheckpointRecord& record, const RunConfig& config) {
  std::vector<Digest> parts{digest_of(nlohmann::json::parse(to_json(config)).at("model").dump())};
  for (const CheckpointDataset& dataset : record.datasets) {
    if (!dataset.name.starts_with("parameters/")) continue;
    parts.push_back(digest_of(dataset.name));
    parts.push_back(dataset.digest());
  }
  return digest_of_parts(parts).hex();
}

}  // namespace

fs::path find_checkpoint(const Communicator& ranks, const fs::path& given) {
  fs::path folder = given;
  bool is_one_step = false;
  agree_on(ranks, [&] {
    std::error_code ignored;
    if (!fs::is_directory(given, ignored)) {
      throw CheckpointError("there is no such folder", given.string(),
                            "name a run, its checkpoints folder, or one step-N in it");
    }
    is_one_step = is_checkpoint_folder(given);
    if (!is_one_step) folder = checkpoints_of(given);
  });
  if (is_one_step) return given;
  const CheckpointStore store(folder);
  const std::optional<std::int64_t> newest = store.newest_valid(ranks);
  if (!newest) {
    agree(ranks, CheckpointError("there are no checkpoints here", folder.string(),
                                 "name a run, its checkpoints folder, or one step-N in it"));
  }
  return store.step_folder(*newest);
}

StoredModelInfo read_model_info(const fs::path& step_folder) {
  const std::string where = step_folder.string();
  const CheckpointReader reader(step_folder);
  const CheckpointMetadata metadata = CheckpointMetadata::from_json(reader.metadata(), where);
  StoredModelInfo info;
  info.folder = step_folder;
  info.step = metadata.step;
  info.tokens_seen = metadata.tokens_seen;
  try {
    info.config = load_config_text(metadata.config_toml, where + ":config");
    info.tokenizer = tokenizer_from_json(metadata.tokenizer_json, where + ":tokenizer");
  } catch (const Error& error) {  // any error in these texts means that the checkpoint is bad
    throw CheckpointError(error.message(), error.where(), error.advice());
  }
  info.tokenizer_digest = info.tokenizer->digest();
  info.model_digest = model_digest_of(reader.record(), info.config);
  return info;
}

std::vector<NamedTensor> stored_weights(ParameterSet& parameters) {
  std::vector<NamedTensor> list;
  for (const Parameter& p : parameters.parameters()) {
    list.push_back(replicated("parameters/" + p.name, p.value, &parameters.host_access()));
  }
  return list;
}

StoredModel::StoredModel(Execution& execution, const Communicator& ranks, const StoredModelInfo& info)
    : shape_(shape_of(info.config)),
      parameters_(execution, shape_, dtype_of_compute(info.config.precision.compute), ParameterUse::Inference),
      transformer_(execution, shape_, parameters_, ActivationPolicy::KeepInputs) {
  CheckpointReader(info.folder).read(ranks, stored_weights(parameters_));
  parameters_.refresh_compute_copies();
}

void StoredModel::close_gates() {
  constexpr double kShut = -1e4;  // its sigmoid is 0, not merely small, in every precision
  for (const Parameter& parameter : parameters_.parameters()) {
    if (parameter.is_gate) parameters_.fill(parameter, kShut);
  }
  parameters_.refresh_compute_copies();
}

Transformer StoredModel::transformer_in(Execution& execution) {
  return Transformer(execution, shape_, parameters_, ActivationPolicy::KeepInputs);
}

}  // namespace rondo
