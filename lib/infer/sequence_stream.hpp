// SPDX-License-Identifier: Apache-2.0
// A text as it goes through a model, piece by piece, of any sizes: the state behind it and what follows. With Infini-attention
// the state has one size however long the text is; with exact attention it is a cache of the tokens that were announced.
#pragma once

#include <cstdint>
#include <span>

#include "infer/host_values.hpp"
#include "model/transformer.hpp"

namespace rondo {

struct SequenceStreamOptions {
  AttentionMask::Rule rule = {};
  /// Tokens of all ranks that go through the model at once: memory beside the state depends on this.
  std::int64_t chunk_tokens = 512;
  /// The most that the text will ever have; only layers of exact attention take memory for it.
  std::int64_t capacity_tokens = 0;
};

class SequenceStream {
 public:
  /// An empty text. @pre execution and model outlive this. Throws ConfigError for a ring of several ranks when a layer has no
  /// memory: its cache lives on one.
  SequenceStream(Execution& execution, Transformer& model, const SequenceStreamOptions& options);

  std::int64_t num_tokens() const { return num_tokens_; }
  /// Collective over the ring, with the same tokens on every rank. However a text is cut into pieces, the result is the same up
  /// to rounding. @pre on a ring at least a token per rank. Throws ConfigError for a token outside the vocabulary.
  void feed(std::span<const std::int32_t> tokens);
  /// Logits [V] of what follows; they may be changed, and are valid until the next call. Waits for the device.
  /// @pre one rank, and num_tokens() > 0
  std::span<double> next_logits();

  /// An empty text again.
  void reset();
  /// Empties the memories and keeps the tokens in sight: what is asked for now can only come from these.
  void forget_memory();
  /// Another stream at the same place, which goes its own way from here: a snapshot too.
  SequenceStream fork() const;
  /// Goes to the place of another, of the same model; on one rank also that of a ring, but without what follows.
  void copy_from(const SequenceStream& other);

  const SequenceState& state() const { return state_; }
  std::int64_t state_bytes() const { return state_.size_bytes(); }

 private:
  friend class StreamFile;
  void feed_span(const SequenceLayout& layout, std::span<const std::int32_t> tokens, bool is_last);

  Execution& execution_;
  Transformer& model_;
  SequenceStreamOptions options_;
  SequenceState state_;
  std::int64_t num_tokens_ = 0;
  Buffer tokens_;  // [Tc] of this rank
  Buffer logits_;  // [V]
  HostValues host_logits_;
};

}  // namespace rondo
