// SPDX-License-Identifier: Apache-2.0
// Generates a continuation token by token, on one rank. Text and files are the caller's business.
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
  /// Tokens of the prompt that go through the model at a time: memory beside the state depends on this, not on the prompt.
  std::int64_t prefill_chunk_tokens = 512;
};

class Generator {
 public:
  /// @pre execution, model and tokenizer outlive this. Throws ConfigError for a bad rule or a ring of several ranks.
  Generator(Execution& execution, Transformer& model, const Tokenizer& tokenizer, const GeneratorOptions& options);

  /// Receives each new token as soon as it is drawn; returns whether to continue.
  using Emit = std::function<bool(std::int32_t)>;
  /// Token i is drawn with random number i of the seed, so a longer text begins with the shorter one. Only ids that can be
  /// targets are drawn. Throws ConfigError for a prompt without tokens or with one outside the vocabulary.
  void generate(std::span<const std::int32_t> prompt, std::int64_t num_tokens, const Emit& emit);
  /// Continues the text of a stream of this model, starting with random number `first_draw` of the seed. All tokens but the
  /// last are fed to the stream.
  void go_on(SequenceStream& stream, std::int64_t first_draw, std::int64_t num_tokens, const Emit& emit);
  /// An empty stream that can hold `capacity_tokens`.
  SequenceStream make_stream(std::int64_t capacity_tokens) const;

 private:
  std::int32_t draw(std::span<double> logits, std::int64_t index) const;

  Execution& execution_;
  Transformer& model_;
  GeneratorOptions options_;
  std::vector<bool> is_target_;  // [V]
};

}  // namespace rondo
