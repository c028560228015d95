// SPDX-License-Identifier: Apache-2.0
#include "train/initial_weights.hpp"

#include "config/print.hpp"
#include "io/checkpoint_reader.hpp"

namespace rondo {

namespace {

constexpr const char* kKey = "train.initialise_from";

// Same weights, other positions: how models are taken to longer sequences.
bool may_differ(const std::string& key) { return key.starts_with("model.rope_") || key == "model.window"; }

void check_same_model(const StoredModelInfo& stored, const RunConfig& config, const std::string& tokenizer_digest) {
  if (stored.tokenizer_digest != tokenizer_digest) {
    throw ConfigError(
        "the model of " + stored.folder.string() +
            " was trained with another tokenizer than the corpus: " + std::string(stored.tokenizer->kind()) + " (" +
            stored.tokenizer_digest + "), the corpus has (" + tokenizer_digest + ")",
        kKey, "prepare the corpus with that tokenizer");
  }
  std::string refused;
  for (const Difference& d : differences(stored.config, config)) {
    if (!d.key.starts_with("model.") || may_differ(d.key)) continue;
    refused += "\n  " + d.key + ": " + d.before + " there, " + d.after + " here";
  }
  if (!refused.empty()) {
    throw ConfigError("the model of " + stored.folder.string() + " is another:" + refused, kKey,
                      "give [model] the values of that checkpoint: rondo checkpoint info shows them");
  }
}

}  // namespace

StoredModelInfo read_initial_weights(const Communicator& ranks, const RunConfig& config,
                                     const std::string& tokenizer_digest, ParameterSet& parameters) {
  const std::filesystem::path folder = find_checkpoint(ranks, config.train.initialise_from);
  StoredModelInfo stored;
  agree_on(ranks, [&] {
    stored = read_model_info(folder);
    check_same_model(stored, config, tokenizer_digest);
  });
  CheckpointReader::open(ranks, folder).read(ranks, stored_weights(parameters));
  return stored;
}

}  // namespace rondo
