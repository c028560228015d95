// SPDX-License-Identifier: Apache-2.0
#include "infer/sequence_stream.hpp"

#include <algorithm>
#include <string>

#include "core/sequence_spans.hpp"
#include "core/trace.hpp"

namespace rondo {

SequenceStream::SequenceStream(Execution& execution, Transformer& model, const SequenceStreamOptions& options)
    : execution_(execution),
      model_(model),
      options_(options),
      state_(model.make_state(std::max<std::int64_t>(1, options.capacity_tokens))),
      logits_(execution.device, accumulator_of(model.compute_dtype()), {model.shape().vocabulary},
              MemoryUse::Workspace),
      host_logits_(accumulator_of(model.compute_dtype()), model.shape().vocabulary) {
  ensure(options.chunk_tokens > 0, "a chunk has tokens");
  const int ring = execution.ring.size();
  if (ring > 1 && model.shape().has_exact_layers()) {
    throw ConfigError(
        "a model with exact attention processes a prompt on one rank, not on a ring of " + std::to_string(ring), "",
        "start `rondo generate` without mpirun");
  }
  // the last span of a piece may have up to one more token per rank
  tokens_ = Buffer(execution.device, DType::Int32, {options.chunk_tokens / ring + 2}, MemoryUse::Workspace);
  reset();
}

void SequenceStream::feed(std::span<const std::int32_t> tokens) {
  TraceScope trace("sequence_stream.feed");
  const std::int64_t V = model_.shape().vocabulary;
  for (const std::int32_t token : tokens) {
    if (token >= 0 && token < V) continue;
    throw ConfigError("token " + std::to_string(token) + " is not in the model's vocabulary of " + std::to_string(V),
                      "the text");
  }
  if (tokens.empty()) return;
  const auto count = static_cast<std::int64_t>(tokens.size());
  const int ring = execution_.ring.size();
  ensure(count >= ring, "a piece has a token for each rank");
  const SequenceSpans spans(count, options_.chunk_tokens, ring, LayoutKind::Contiguous);
  for (std::int64_t span = 0; span < spans.count(); ++span) {
    const SequenceLayout piece = spans.layout(span);
    feed_span(
        {piece.span_tokens(), ring, piece.kind(), num_tokens_},
        tokens.subspan(static_cast<std::size_t>(piece.first_position()), static_cast<std::size_t>(piece.span_tokens())),
        span + 1 == spans.count());
  }
}

void SequenceStream::feed_span(const SequenceLayout& layout, std::span<const std::int32_t> tokens, bool is_last) {
  const Span span(layout, options_.rule, execution_.ring.rank());
  const TensorView mine = tokens_.view().rows(0, span.num_tokens());  // [T]
  const auto first = static_cast<std::size_t>(span.runs()[0].global_first - layout.first_position());
  execution_.device.copy(execution_.compute, mine.data, tokens.data() + first, mine.size_bytes());
  if (is_last && execution_.ring.size() == 1) {
    model_.next_logits(span, mine, state_, logits_.view());
  } else {
    model_.advance(span, mine, {&state_, &state_});
  }
  execution_.device.synchronize(execution_.compute);  // the caller may reuse the tokens
  num_tokens_ = layout.end_position();
}

std::span<double> SequenceStream::next_logits() {
  ensure(execution_.ring.size() == 1 && num_tokens_ > 0, "one rank knows what follows a text");
  return host_logits_.fetch(execution_, logits_.view());
}

void SequenceStream::reset() {
  state_.clear(execution_.device, execution_.compute);
  num_tokens_ = 0;
}

void SequenceStream::forget_memory() { state_.reset_memory(execution_.device, execution_.compute); }

SequenceStream SequenceStream::fork() const {
  SequenceStream other(execution_, model_, options_);
  other.copy_from(*this);
  return other;
}

void SequenceStream::copy_from(const SequenceStream& other) {
  state_.copy_from(execution_.device, execution_.compute, other.state_);
  execution_.device.copy(execution_.compute, logits_.data(), other.logits_.data(), logits_.size_bytes());
  num_tokens_ = other.num_tokens_;
}

}  // namespace rondo
