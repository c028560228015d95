// SPDX-License-Identifier: Apache-2.0
#include "train/validation.hpp"

#include "core/log.hpp"
#include "model/shape_of.hpp"
#include "train/memory_metrics.hpp"

namespace rondo {

namespace {

EvaluationData data_of(const TokenCorpus& corpus, const RunConfig& config) {
  return {corpus, Split::Validation, config.data.sequence_length, config.data.isolate_documents};
}

EvaluationOptions options_of(const RunConfig& config) {
  return {config.evaluate.sequences, *config.parallel.layout, mask_rule_of(config.model), config.memory.span_tokens};
}

}  // namespace

std::optional<Error> validation_problem(const TokenCorpus& corpus, const RunConfig& config) {
  return evaluation_problem(data_of(corpus, config), options_of(config), config.parallel.ring);
}

Validation::Validation(Runtime& runtime, Transformer& model, const ParameterSet& parameters, const RunConfig& config,
                       const TokenCorpus& corpus)
    : runtime_(runtime),
      model_(model),
      parameters_(parameters),
      shape_(shape_of(config)),
      tokenizer_(corpus.tokenizer()) {
  agree_on(runtime.world(), [&] {
    if (const auto problem = validation_problem(corpus, config)) problem_ = problem->what();
  });
  problem_ = runtime.world().broadcast(problem_);  // rank 0 decides for all
  if (!problem_.empty()) return;
  evaluator_ = std::make_unique<Evaluator>(runtime, model, data_of(corpus, config), options_of(config));
}

void Validation::warm_up() {
  if (evaluator_) evaluator_->warm_up();
}

ValidationRecord Validation::run(std::int64_t step) {
  ensure(evaluator_ != nullptr, "a validation part with a problem is not evaluated");
  const MemoryMetrics memory(runtime_, model_, parameters_, shape_);
  const EvaluationResult result = evaluator_->run();
  log::info("step {:>7}    validation loss {:.4f} nats, {:.4f} bits per {}", step, result.loss, result.bits_per_unit(),
            tokenizer_.unit());
  return {.step = step, .loss = result.loss, .num_targets = result.num_targets, .memory = memory.statistics()};
}

}  // namespace rondo
