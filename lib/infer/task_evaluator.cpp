// SPDX-License-Identifier: Apache-2.0
#include "infer/task_evaluator.hpp"

#include <algorithm>
#include <cstring>

#include "core/trace.hpp"

namespace rondo {

ModelWindow window_of(const ModelConfig& model) {
  if (!model.has_memory()) return {};
  return {.segment_tokens = model.segment_tokens,
          .window_segments = model.window_segments,
          .num_layers = model.layers,
          .has_exact_layers = model.has_exact_layers()};
}

TaskEvaluator::TaskEvaluator(Execution& execution, const Communicator& world, Transformer& model,
                             const TaskOptions& task, const TaskEvaluatorOptions& options)
    : world_(world),
      task_(task),
      options_(options),
      stream_(execution, model, {.rule = options.rule, .capacity_tokens = task.tokens}) {
  ensure(execution.ring.size() == 1, "a rank reads its samples alone");
  if (options.window.segment_tokens > 0) forgetful_.emplace(stream_.fork());
}

TaskEvaluation TaskEvaluator::run(std::int64_t num_samples,
                                  const std::function<void(std::int64_t, std::int64_t)>& progress) {
  TraceScope trace("task_evaluator.run");
  const std::int64_t mine = (num_samples - world_.rank() + world_.size() - 1) / world_.size();
  const std::int64_t passes = forgetful_ ? 2 : 1;
  std::int64_t done = 0;
  const auto for_each_sample = [&](const std::function<void(const TaskSample&)>& take) {
    for (std::int64_t index = world_.rank(); index < num_samples; index += world_.size()) {
      take(make_sample(task_, SampleSplit::Test, index));
      if (progress) progress(++done, passes * mine);
    }
  };

  TaskEvaluation result{.num_samples = num_samples};
  Replies replies, forgetful;
  for_each_sample([&](const TaskSample& sample) {
    stream_.reset();
    stream_.feed(std::span(sample.tokens).first(static_cast<std::size_t>(sample.question_first)));
    if (forgetful_) {
      forgetful_->copy_from(stream_);
      forgetful_->forget_memory();
      answer(sample, *forgetful_, forgetful);
    }
    answer(sample, stream_, replies);
  });
  result.model = score(num_samples, replies);
  if (!forgetful_) return result;
  result.knocked_out = score(num_samples, forgetful);

  options_.close_gates();
  replies.clear();
  for_each_sample([&](const TaskSample& sample) {
    stream_.reset();
    answer(sample, stream_, replies);
  });
  result.off = score(num_samples, replies);
  return result;
}

void TaskEvaluator::answer(const TaskSample& sample, SequenceStream& stream, Replies& replies) {
  for (const TaskAnswer& answer : sample.answers) {
    for (std::int64_t position = answer.first; position < answer.first + answer.num_tokens; ++position) {
      stream.feed(std::span(sample.tokens)
                      .subspan(static_cast<std::size_t>(stream.num_tokens()),
                               static_cast<std::size_t>(position - stream.num_tokens())));
      const std::span<const double> logits = stream.next_logits();
      replies.push_back(static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin()));
    }
  }
}

TaskScore TaskEvaluator::score(std::int64_t num_samples, const Replies& mine) const {
  const std::vector<std::string> all =
      world_.all_gather({reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(mine[0])});
  std::vector<Replies> replies;
  std::vector<std::span<const std::int32_t>> rest;  // per rank, the replies not yet scored
  for (const std::string& bytes : all) {
    replies.emplace_back(bytes.size() / sizeof(mine[0]));
    if (!bytes.empty()) std::memcpy(replies.back().data(), bytes.data(), bytes.size());
    rest.emplace_back(replies.back());
  }
  TaskScore total;
  for (std::int64_t index = 0; index < num_samples; ++index) {  // in this order for any number of ranks
    std::span<const std::int32_t>& theirs = rest[static_cast<std::size_t>(index % world_.size())];
    const TaskSample sample = make_sample(task_, SampleSplit::Test, index);
    for (const TaskAnswer& answer : sample.answers) {
      add_answer(task_, options_.window, sample, answer, theirs.first(static_cast<std::size_t>(answer.num_tokens)),
                 total);
      theirs = theirs.subspan(static_cast<std::size_t>(answer.num_tokens));
    }
  }
  return total;
}

}  // namespace rondo
