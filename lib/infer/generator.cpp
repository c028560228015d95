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
    : execution_(execution), model_(model), options_(options) {
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
}

void Generator::generate(std::span<const std::int32_t> prompt, std::int64_t num_tokens,
                         const std::function<bool(std::int32_t)>& emit) {
  TraceScope trace("generator.generate");
  if (prompt.empty()) {
    throw ConfigError("the prompt has no tokens", "--prompt", "give at least one character that the model knows");
  }
  if (num_tokens <= 0) return;
  // the last token drawn is not fed to the model
  SequenceStream stream = make_stream(static_cast<std::int64_t>(prompt.size()) + num_tokens - 1);
  stream.feed(prompt);
  go_on(stream, 0, num_tokens, emit);
}

void Generator::go_on(SequenceStream& stream, std::int64_t first_draw, std::int64_t num_tokens, const Emit& emit) {
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const std::int32_t token = draw(stream.next_logits(), first_draw + i);
    if (!emit(token) || i + 1 == num_tokens) return;
    stream.feed({&token, 1});
  }
}

SequenceStream Generator::make_stream(std::int64_t capacity_tokens) const {
  return SequenceStream(
      execution_, model_,
      {.rule = options_.rule, .chunk_tokens = options_.prefill_chunk_tokens, .capacity_tokens = capacity_tokens});
}

std::int32_t Generator::draw(std::span<double> logits, std::int64_t index) const {
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (!is_target_[id]) logits[id] = -std::numeric_limits<double>::infinity();
  }
  const CounterRandom random(options_.seed, stream_of("generator.draw"));
  return sample_token(logits, options_.sampling, random.uniform(static_cast<std::uint64_t>(index)));
}

}  // namespace rondo
