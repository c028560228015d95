// SPDX-License-Identifier: Apache-2.0
// Incremental inference: feeds a text to a model in pieces of any size, and keeps the state after it and the next-token logits.
// With Infini-attention the state has a fixed size; with exact attention it is a K/V cache for `capacity_tokens`.
#pragma once

#include <cstdint>
#include <span>

#include "infer/host_values.hpp"
#include "model/transformer.hpp"

namespace rondo {

struct SequenceStreamOptions {
  AttentionMask::Rule rule = {};
  /// Tokens, over all ranks, that go through the model at a time: memory beside the state depends on this.
  std::int64_t chunk_tokens = 512;
  /// Upper bound of the text's length; only layers of exact attention allocate memory for it.
  std::int64_t capacity_tokens = 0;
};

class SequenceStream {
 public:
  /// An empty text. @pre execution and model outlive this. Throws ConfigError for a ring of several ranks when a layer has
  /// exact attention, whose K/V cache is on one rank.
  SequenceStream(Execution& execution, Transformer& model, const SequenceStreamOptions& options);

  std::int64_t num_tokens() const { return num_tokens_; }
  /// Collective over the ring, with the same tokens on every rank. However a text is cut into pieces, the result is the same up
  /// to rounding. @pre on a ring at least a token per rank. Throws ConfigError for a token outside the vocabulary.
  void feed(std::span<const std::int32_t> tokens);
  /// Logits [V] of the next token; the caller may change them; valid until the next call. Waits for the device.
  /// @pre one rank, and num_tokens() > 0
  std::span<double> next_logits();

  /// Returns to an empty text.
  void reset();
  /// Empties the compressive memories and keeps the keys of the window, so that later answers can come only from these.
  void forget_memory();
  /// An independent copy of position and state; also serves as a snapshot.
  SequenceStream fork() const;
  /// Copies position and state from another stream of the same model. A single-rank stream may copy one of a ring; its
  /// next-token logits are then undefined.
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
  Buffer tokens_;  // this rank's part of a chunk
  Buffer logits_;  // [V]
  HostValues host_logits_;
};

}  // namespace rondo
