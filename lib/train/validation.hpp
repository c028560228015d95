// SPDX-License-Identifier: Apache-2.0
// The evaluation of the validation split during training, or the reason why there is none. This is decided when a run starts,
// since every run ends with an evaluation.
#pragma once

#include <memory>
#include <string>

#include "config/run_config.hpp"
#include "infer/evaluator.hpp"
#include "io/metrics_record.hpp"

namespace rondo {

/// Why a run of this configuration has no validation; nothing if it has one. @param config resolved
std::optional<Error> validation_problem(const TokenCorpus& corpus, const RunConfig& config);

class Validation {
 public:
  /// Collective, as are warm_up() and run(). @param config resolved. All references must outlive this object.
  Validation(Runtime& runtime, Transformer& model, const ParameterSet& parameters, const RunConfig& config,
             const TokenCorpus& corpus);

  /// Why there is no validation and what to do about it; empty if there is one.
  const std::string& problem() const { return problem_; }
  /// Allocates the memory that an evaluation needs in addition to a step.
  void warm_up();
  /// Evaluates and logs. @pre problem() is empty @param step the last one done
  ValidationRecord run(std::int64_t step);

 private:
  Runtime& runtime_;
  Transformer& model_;
  const ParameterSet& parameters_;
  const TransformerShape shape_;
  const Tokenizer& tokenizer_;
  std::string problem_;
  std::unique_ptr<Evaluator> evaluator_;  // null if there is a problem
};

}  // namespace rondo
