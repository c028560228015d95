// SPDX-License-Identifier: Apache-2.0
// Continues a prompt token by token with a key/value cache, on one rank. Text and files are the caller's
// business.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "infer/host_values.hpp"
#include "infer/sampler.hpp"
#include "io/tokenizer.hpp"
#include "model/transformer.hpp"

namespace rondo {

struct GeneratorOptions {
  SamplingRule sampling;
  std::uint64_t seed = 1;
  AttentionMask::Rule rule = {};
  /// The prompt goes through the model in pieces of so many tokens: memory beside the cache depends on this,
  /// not on the prompt.
  std::int64_t prefill_chunk_tokens = 512;
};

class Generator {
 public:
  /// @pre execution, model and tokenizer outlive this. Throws ConfigError for a bad rule or a ring of several
  /// ranks.
  Generator(Execution& execution, Transformer& model, const Tokenizer& tokenizer, const GeneratorOptions& options);

  /// Calls emit(token) for each of `num_tokens` new tokens as soon as it is known; emit returns whether to go
  /// on. Token i is drawn with number i of the seed, so a longer text begins with the shorter one. Ids that
  /// the tokenizer never predicts are never drawn. Throws ConfigError for a prompt without tokens or with one
  /// outside the vocabulary.
  void generate(std::span<const std::int32_t> prompt, std::int64_t num_tokens,
                const std::function<bool(std::int32_t)>& emit);

 private:
  /// Logits of what follows the tokens, which are appended to the state, in logits_.
  void advance(std::span<const std::int32_t> tokens, SequenceState& state);
  void prefill(std::span<const std::int32_t> prompt, SequenceState& state);
  std::int32_t draw(std::int64_t index);

  Execution& execution_;
  Transformer& model_;
  GeneratorOptions options_;
  std::vector<bool> is_target_;  // [V]
  Buffer tokens_, logits_;       // [Tc], [V] on the device
  HostValues host_logits_;       // [V]
};

}  // namespace rondo
