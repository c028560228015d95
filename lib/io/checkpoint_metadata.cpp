// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_metadata.hpp"

#include "io/record_format.hpp"

namespace rondo {

namespace {

constexpr RecordFormat kMetadataFormat{"rondo-checkpoint-metadata", 1};

}  // namespace

std::string CheckpointMetadata::to_json() const {
  nlohmann::ordered_json json = versioned(kMetadataFormat);
  json.update({{"config", config_toml},
               {"step", step},
               {"tokens_seen", tokens_seen},
               {"loader_position", loader_position},
               {"seed", seed},
               {"tokenizer", tokenizer_json},
               {"tokenizer_digest", tokenizer_digest},
               {"corpus_digest", corpus_digest}});
  return text_of_record(json, 2);
}

CheckpointMetadata CheckpointMetadata::from_json(const std::string& text, const std::string& where) {
  return read_record<CheckpointError>(text, kMetadataFormat, where, [](const nlohmann::json& json) {
    return CheckpointMetadata{.config_toml = json.at("config"),
                              .step = json.at("step"),
                              .tokens_seen = json.at("tokens_seen"),
                              .loader_position = json.at("loader_position"),
                              .seed = json.at("seed"),
                              .tokenizer_json = json.at("tokenizer"),
                              .tokenizer_digest = json.at("tokenizer_digest"),
                              .corpus_digest = json.at("corpus_digest")};
  });
}

}  // namespace rondo
