// SPDX-License-Identifier: Apache-2.0
// The evaluation of the validation part during training, or the reason why there is none. Known when a run starts, because a run
// ends with an evaluation.
#pragma once

#include <memory>
#include <string>

#include "config/run_config.hpp"
#include "infer/evaluator.hpp"
#include "io/metrics_record.hpp"

namespace rondo {

/// Why a run of this configuration trains without validation; nothing when it does not. @param config resolved
std::optional<Error> validation_problem(const TokenCorpus& corpus, const RunConfig& config);

class Validation {
 public:
  /// Collective, as all calls. @param config resolved. All outlive this.
  Validation(Runtime& runtime, Transformer& model, const ParameterSet& parameters, const RunConfig& config,
             const TokenCorpus& corpus);

  /// Why there is none, with what to do about it; empty when there is.
  const std::string& problem() const { return problem_; }
  /// Takes the memory that an evaluation needs and a step does not.
  void warm_up();
  /// Evaluates and logs. @pre there is no problem @param step that was done before
  ValidationRecord run(std::int64_t step);

 private:
  Runtime& runtime_;
  Transformer& model_;
  const ParameterSet& parameters_;
  const TransformerShape shape_;
  const Tokenizer& tokenizer_;
  std::string problem_;
  std::unique_ptr<Evaluator> evaluator_;  // none when there is a problem
};

}  // namespace rondo
