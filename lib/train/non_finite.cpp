// SPDX-License-Identifier: Apache-2.0
// The part of the trainer that stops a run whose numbers are no longer numbers, and finds out where they
// began.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <spdlog/fmt/fmt.h>

#include "train/trainer.hpp"

namespace rondo {

namespace {

bool all_finite(Execution& e, const TensorView& x) {
  Arena::Scope scope(e.scratch);
  const TensorView wide = e.scratch.take(accumulator_of(x.dtype), x.shape);
  const TensorView sum = e.scratch.take(DType::Fp64, {1});
  double square = 0;
  e.backend.convert(e.compute, {x, wide});
  e.device.fill_zero(e.compute, sum.data, sum.size_bytes());
  e.backend.sum(e.compute, {wide, SumArgs::Power::Two, sum.as<double>()});
  e.device.copy(e.compute, &square, sum.data, sizeof(square));
  e.device.synchronize(e.compute);
  return std::isfinite(square);
}

// Names of the first documents of a sequence.
std::string document_names(const TokenCorpus& corpus, const LoadedSequence& sequence) {
  constexpr std::size_t kMostNames = 3;
  std::string names;
  for (std::size_t i = 0; i < std::min(kMostNames, sequence.documents.size()); ++i) {
    names += (i == 0 ? "" : ", ") + corpus.document_name(Split::Train, sequence.documents[i].document);
  }
  if (sequence.documents.size() > kMostNames)
    names += fmt::format(" and {} more", sequence.documents.size() - kMostNames);
  return names;
}

}  // namespace

void Trainer::stop_if_not_finite(double my_loss) {
  const std::optional<std::string> gradient = step_.sums().non_finite_origin();
  const bool bad = !std::isfinite(my_loss) || gradient.has_value();
  if (!runtime_.world().any(bad)) return;
  const std::int64_t step = state_.progress.step + 1;

  // All ranks run forward once more and look where the first non-finite number of each is: (depth, text).
  std::int64_t depth = std::numeric_limits<std::int64_t>::max();
  std::string found = bad && gradient ? "the gradient of " + *gradient : bad ? "the loss" : "";
  if (bad) depth = shape().layers + 1;
  for (std::int64_t index = 0; index < num_micro_batches(); ++index) {
    std::int64_t at = 0;
    const auto look = [&](const std::string& name, const TensorView& x) {
      if (at < depth && !all_finite(execution_, x)) {
        depth = at;
        found = name;
      }
      ++at;
    };
    LossSum ignored;
    const SequenceInput input = micro_batch(index, ignored);
    std::optional<SequenceState> state;
    if (step_.spans().count() > 1) state = step_.model().make_state(step_.spans().sequence_tokens());
    for (std::int64_t span = 0; span < step_.spans().count(); ++span) {
      step_.load(input, span);
      at = 0;
      SequenceState* carried = state ? &*state : nullptr;
      step_.model().inspect(step_.span(), step_.batch().tokens, {span == 0 ? nullptr : carried, carried}, look);
    }
  }
  const std::vector<std::int64_t> depths = runtime_.world().all_gather(depth);
  const auto first = std::min_element(depths.begin(), depths.end()) - depths.begin();
  const std::string text = fmt::format("non-finite numbers in step {}, first on rank {} in {}; the documents there: {}",
                                       step, runtime_.world().rank(), found, document_names(corpus_, sequence_));
  const std::string kept = checkpoints_.steps().empty() ? "" : " and the last checkpoint is good";
  throw AgreedError(ErrorKind::NonFinite, runtime_.world().broadcast(text, static_cast<int>(first)), "",
                    "the update was not made" + kept +
                        ": lower train.learning_rate, lengthen train.warmup_steps, or "
                        "look at these documents");
}

}  // namespace rondo
