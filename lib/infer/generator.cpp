// SPDX-License-Identifier: Apache-2.0
#include "infer/generator.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "core/random.hpp"
#include "core/trace.hpp"

namespace rondo {

Generator::Generator(Execution& execution, Transformer& model, const Tokenizer& tokenizer,
                     const GeneratorOptions& options)
    : execution_(execution),
      model_(model),
      options_(options),
      host_logits_(accumulator_of(model.compute_dtype()), model.shape().vocabulary) {
  check(options.sampling);
  ensure(options.prefill_chunk_tokens > 0, "a prefill chunk has tokens");
  if (execution.ring.size() != 1) {
    throw ConfigError("text is generated on one rank, not on a ring of " + std::to_string(execution.ring.size()), "",
                      "start `rondo generate` without mpirun");
  }
  const std::int64_t V = model.shape().vocabulary;
  is_target_.resize(static_cast<std::size_t>(V));
  for (std::int64_t id = 0; id < std::min(V, tokenizer.vocabulary_size()); ++id) {
    is_target_[static_cast<std::size_t>(id)] = tokenizer.is_target(static_cast<std::int32_t>(id));
  }
  tokens_ = Buffer(execution.device, DType::Int32, {options.prefill_chunk_tokens}, MemoryUse::Workspace);
  logits_ = Buffer(execution.device, accumulator_of(model.compute_dtype()), {V}, MemoryUse::Workspace);
}

void Generator::generate(std::span<const std::int32_t> prompt, std::int64_t num_tokens,
                         const std::function<bool(std::int32_t)>& emit) {
  TraceScope trace("generator.generate");
  if (prompt.empty()) {
    throw ConfigError("the prompt has no tokens", "--prompt", "give at least one character that the model knows");
  }
  const std::int64_t V = model_.shape().vocabulary;
  for (const std::int32_t token : prompt) {
    if (token < 0 || token >= V) {
      throw ConfigError(
          "token " + std::to_string(token) + " of the prompt is not in the model's vocabulary of " + std::to_string(V),
          "--prompt");
    }
  }
  if (num_tokens <= 0) return;
  // the last token drawn is not given to the model
  SequenceState state = model_.make_state(static_cast<std::int64_t>(prompt.size()) + num_tokens - 1);
  prefill(prompt, state);
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const std::int32_t token = draw(i);
    if (!emit(token) || i + 1 == num_tokens) return;
    advance({&token, 1}, state);
  }
}

void Generator::prefill(std::span<const std::int32_t> prompt, SequenceState& state) {
  const auto chunk = static_cast<std::size_t>(options_.prefill_chunk_tokens);
  for (std::size_t first = 0; first < prompt.size(); first += chunk) {
    advance(prompt.subspan(first, std::min(chunk, prompt.size() - first)), state);
  }
}

void Generator::advance(std::span<const std::int32_t> tokens, SequenceState& state) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const Span span(SequenceLayout(count, 1, LayoutKind::Contiguous), options_.rule, 0);
  const TensorView on_device = tokens_.view().rows(0, count);  // [T]
  execution_.device.copy(execution_.compute, on_device.data, tokens.data(), on_device.size_bytes());
  model_.next_logits(span, on_device, state, logits_.view());
}

std::int32_t Generator::draw(std::int64_t index) {
  const std::span<double> logits = host_logits_.fetch(execution_, logits_.view());  // [V]
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (!is_target_[id]) logits[id] = -std::numeric_limits<double>::infinity();
  }
  const CounterRandom random(options_.seed, stream_of("generator.draw"));
  return sample_token(logits, options_.sampling, random.uniform(static_cast<std::uint64_t>(index)));
}

}  // namespace rondo
