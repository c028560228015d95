// SPDX-License-Identifier: Apache-2.0
#include "train/training_state.hpp"

#include <nlohmann/json.hpp>

#include "infer/stored_model.hpp"

namespace rondo {

std::vector<NamedTensor> TrainingState::tensors() const {
  std::vector<NamedTensor> list = stored_weights(parameters_);
  for (std::size_t i = 0; i < parameters_.parameters().size(); ++i) {
    const std::string& name = parameters_.parameters()[i].name;
    const Moments& moments = optimizer_.moments()[i];
    list.push_back(replicated("moment_1/" + name, moments.moment_1, &parameters_.host_access()));
    list.push_back(replicated("moment_2/" + name, moments.moment_2, &parameters_.host_access()));
  }
  return list;
}

std::string TrainingState::metadata(const CheckpointContext& context) const {
  const nlohmann::ordered_json document{{"config", context.config_toml},
                                        {"step", progress.step},
                                        {"tokens_seen", progress.tokens_seen},
                                        {"loader_position", progress.loader_position},
                                        {"stage", progress.stage},
                                        {"seed", context.seed},
                                        {"tokenizer", context.tokenizer_json},
                                        {"tokenizer_digest", context.tokenizer_digest},
                                        {"corpus_digest", context.corpus_digest}};
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

TrainingProgress TrainingState::progress_from(const std::string& metadata) {
  try {
    const auto document = nlohmann::json::parse(metadata);
    return {.step = document.at("step"),
            .tokens_seen = document.at("tokens_seen"),
            .loader_position = document.at("loader_position"),
            .stage = document.at("stage")};
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(std::string("the metadata of the checkpoint cannot be read: ") + error.what());
  }
}

}  // namespace rondo
