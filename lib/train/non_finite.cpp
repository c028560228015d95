// SPDX-License-Identifier: Apache-2.0
// The part of the trainer that stops a run at a non-finite number and finds where it first appeared.
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

}  // namespace

// The names of the first documents of a micro-batch of this step.
std::string Trainer::document_names(std::int64_t micro_batch) {
  constexpr std::size_t kMostNames = 3;
  LossSum ignored;
  step_.load(this->micro_batch(micro_batch, ignored), 0);
  const std::vector<DocumentPosition>& documents = sequence_.documents;
  std::string names;
  for (std::size_t i = 0; i < std::min(kMostNames, documents.size()); ++i) {
    names += (i == 0 ? "" : ", ") + corpus_.document_name(Split::Train, documents[i].document);
  }
  if (documents.size() > kMostNames) names += fmt::format(" and {} more", documents.size() - kMostNames);
  return names;
}

void Trainer::stop_if_not_finite() {
  const std::optional<std::int64_t> bad_loss = step_.sums().non_finite_micro_batch();
  const std::optional<std::string> bad_gradient = step_.sums().non_finite_origin();
  const bool bad = bad_loss || bad_gradient;
  if (!runtime_.world().any(bad)) return;
  const std::int64_t step = state_.progress.step + 1;

  // All ranks repeat forward and search for their first non-finite number: its depth in the model, the tensor and the
  // micro-batch. If forward has none, it is in the loss, or in a gradient, which belongs to all micro-batches.
  std::int64_t depth = bad ? shape().layers + 1 : std::numeric_limits<std::int64_t>::max();
  std::string found = bad_gradient ? "the gradient of " + *bad_gradient : "the loss";
  std::optional<std::int64_t> where = bad_loss;
  for (std::int64_t micro_batch = 0; micro_batch < num_micro_batches(); ++micro_batch) {
    std::int64_t at = 0;
    const auto inspect = [&](const std::string& name, const TensorView& x) {
      if (at < depth && !all_finite(execution_, x)) {
        depth = at;
        found = name;
        where = micro_batch;
      }
      ++at;
    };
    LossSum ignored;
    const SequenceInput sequence = this->micro_batch(micro_batch, ignored);
    const SequenceSpans& spans = step_.spans();
    std::optional<SequenceState> state;
    if (spans.count() > 1) state = step_.model().make_state(spans.sequence_tokens());
    for (std::int64_t span = 0; span < spans.count(); ++span) {
      step_.load(sequence, span);
      at = 0;
      SequenceState* carried = state ? &*state : nullptr;
      step_.model().inspect(step_.span(), step_.batch().tokens, {span == 0 ? nullptr : carried, carried}, inspect);
    }
  }
  const std::vector<std::int64_t> depths = runtime_.world().all_gather(depth);
  const auto first = std::min_element(depths.begin(), depths.end()) - depths.begin();
  std::string documents;
  for (std::int64_t micro_batch = 0; micro_batch < num_micro_batches(); ++micro_batch) {
    if (where && micro_batch != *where) continue;
    documents += (documents.empty() ? "" : "; ") + document_names(micro_batch);
  }
  const std::string text = fmt::format("non-finite numbers in step {}, first on rank {} in {}; the documents there: {}",
                                       step, runtime_.world().rank(), found, documents);
  const std::string kept = checkpoints_.steps().empty() ? "" : " and the last checkpoint is good";
  throw AgreedError(ErrorKind::NonFinite, runtime_.world().broadcast(text, static_cast<int>(first)), "",
                    "the update was not made" + kept +
                        ": lower train.learning_rate, lengthen train.warmup_steps, or look at these documents");
}

}  // namespace rondo
