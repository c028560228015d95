// SPDX-License-Identifier: Apache-2.0
// Continues a text token by token, on one rank. Text and files are the caller's business.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "infer/sampler.hpp"
#include "infer/sequence_stream.hpp"
#include "io/tokenizer.hpp"
#include "model/transformer.hpp"

namespace rondo {

struct GeneratorOptions {
  SamplingRule sampling;
  std::uint64_t seed = 1;
  AttentionMask::Rule rule = {};
  /// The prompt goes through the model in pieces of so many tokens: memory beside the state depends on this,
  /// not on the prompt.
  std::int64_t prefill_chunk_tokens = 512;
};

class Generator {
 public:
  /// @pre execution, model and tokenizer outlive this. Throws ConfigError for a bad rule or a ring of several
  /// ranks.
  Generator(Execution& execution, Transformer& model, const Tokenizer& tokenizer, const GeneratorOptions& options);

  /// Is told of each new token as soon as it is known; returns whether to go on.
  using Emit = std::function<bool(std::int32_t)>;
  /// Token i is drawn with number i of the seed, so a longer text begins with the shorter one. Ids that the tokenizer never
  /// predicts are never drawn. Throws ConfigError for a prompt without tokens or with one outside the vocabulary.
  void generate(std::span<const std::int32_t> prompt, std::int64_t num_tokens, const Emit& emit);
  /// The same behind a text that went through a stream of this model, from number `first_draw` of the seed on. All tokens but
  /// the last are given to the stream.
  void go_on(SequenceStream& stream, std::int64_t first_draw, std::int64_t num_tokens, const Emit& emit);
  /// An empty text for the most tokens that there will be.
  SequenceStream make_stream(std::int64_t capacity_tokens) const;

 private:
  std::int32_t draw(std::span<double> logits, std::int64_t index) const;

  Execution& execution_;
  Transformer& model_;
  GeneratorOptions options_;
  std::vector<bool> is_target_;  // [V]
};

}  // namespace rondo
