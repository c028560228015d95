// SPDX-License-Identifier: Apache-2.0
#include "train/training_state.hpp"

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

void TrainingState::resume(const CheckpointMetadata& metadata) {
  progress = {.step = metadata.step, .tokens_seen = metadata.tokens_seen, .loader_position = metadata.loader_position};
}

std::string TrainingState::metadata(CheckpointMetadata origin) const {
  origin.step = progress.step;
  origin.tokens_seen = progress.tokens_seen;
  origin.loader_position = progress.loader_position;
  return origin.to_json();
}

}  // namespace rondo
