// SPDX-License-Identifier: Apache-2.0
#include "train/initial_weights.hpp"

#include <algorithm>
#include <array>

#include "config/print.hpp"
#include "io/checkpoint_reader.hpp"
#include "model/shape_of.hpp"

namespace rondo {

namespace {

constexpr const char* kKey = "train.initialise_from";

// A gate that the stored model lacks: what is read from memory gets a weight of 0.25 %.
constexpr double kClosedGate = -6;

// What may change when a model is extended to longer sequences: positions, windows and memories. The weights stay valid.
bool may_differ(const std::string& key) {
  constexpr std::array kKeys{"model.window",          "model.attention",   "model.segment_tokens",
                             "model.window_segments", "model.memory_rule", "model.memory_gate"};
  return key.starts_with("model.rope_") || std::ranges::find(kKeys, key) != kKeys.end();
}

/// The parameters that the stored model has; the others must be gates, which start closed.
std::vector<NamedTensor> shared_weights(const StoredModelInfo& stored, const RunConfig& config,
                                        ParameterSet& parameters) {
  const TransformerShape before = shape_of(stored.config);
  std::vector<NamedTensor> shared;
  std::vector<NamedTensor> all = stored_weights(parameters);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Parameter& parameter = parameters.parameters()[i];
    if (!parameter.is_gate || before.has_memory(parameter.layer)) {
      shared.push_back(std::move(all[i]));
    } else {
      parameters.fill(parameter, std::min(config.model.memory_gate, kClosedGate));
    }
  }
  return shared;
}

void check_same_model(const StoredModelInfo& stored, const RunConfig& config, const std::string& tokenizer_digest) {
  if (stored.tokenizer_digest != tokenizer_digest) {
    throw ConfigError(
        "the model of " + stored.folder.string() +
            " was trained with another tokenizer than the corpus: " + std::string(stored.tokenizer->kind()) + " (" +
            stored.tokenizer_digest + "), the corpus has (" + tokenizer_digest + ")",
        kKey, "prepare the corpus with that tokenizer");
  }
  require_same_model(stored.config, config, "of " + stored.folder.string(), kKey);
}

}  // namespace

void require_same_model(const RunConfig& there, const RunConfig& here, const std::string& which,
                        const std::string& where) {
  std::string refused;
  for (const Difference& d : differences(there, here)) {
    if (!d.key.starts_with("model.") || may_differ(d.key)) continue;
    refused += "\n  " + d.key + ": " + d.before + " there, " + d.after + " here";
  }
  if (!refused.empty()) {
    throw ConfigError("the model " + which + " is another:" + refused, where,
                      "give [model] the same values; of a checkpoint, rondo checkpoint info shows them");
  }
}

StoredModelInfo read_initial_weights(const Communicator& ranks, const RunConfig& config,
                                     const std::string& tokenizer_digest, ParameterSet& parameters) {
  const std::filesystem::path folder = find_checkpoint(ranks, config.train.initialise_from);
  StoredModelInfo stored;
  agree_on(ranks, [&] {
    stored = read_model_info(folder);
    check_same_model(stored, config, tokenizer_digest);
  });
  CheckpointReader::open(ranks, folder).read(ranks, shared_weights(stored, config, parameters));
  return stored;
}

}  // namespace rondo
