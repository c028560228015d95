// SPDX-License-Identifier: Apache-2.0
#include "apps/prepare_task.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "apps/clean_stop.hpp"
#include "apps/figures.hpp"
#include "apps/live_progress.hpp"

namespace rondo {

namespace {

void print_json(const TaskCorpusOptions& options, const TaskCorpusResult& result, double seconds) {
  const TaskOptions& task = options.task;
  const auto part = [&](std::int64_t places, std::int64_t samples, std::int64_t targets) {
    return nlohmann::ordered_json{{"tokens", places * task.tokens}, {"documents", samples}, {"targets", targets}};
  };
  nlohmann::ordered_json document{
      {"output", options.output},
      {"task", nlohmann::ordered_json::parse(to_json(options))},
      {"tokenizer", tokenizer_of(task)->kind()},
      {"vocabulary_size", tokenizer_of(task)->vocabulary_size()},
      {"train", part(options.num_samples, result.num_train_samples, result.num_train_targets)},
      {"validation",
       part(options.num_validation_samples, result.num_validation_samples, result.num_validation_targets)},
      {"chance_exact", chance_of(task).exact},
      {"chance_token", chance_of(task).token}};
  if (!task.has_pairs()) document["validation_passkeys_in_train"] = result.validation_passkeys_seen;
  document["seconds"] = seconds;
  std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

void print_text(const TaskCorpusOptions& options, const TaskCorpusResult& result) {
  const TaskOptions& task = options.task;
  const auto tokenizer = tokenizer_of(task);
  const std::string lengths = options.shortest_tokens == 0
                                  ? std::to_string(task.tokens)
                                  : fmt::format("{} to {}", options.shortest_tokens, task.tokens);
  fmt::print("{}: task {}, samples of {} tokens, tokenizer {}, {} ids\n", options.output, name_of(task.task), lengths,
             tokenizer->kind(), tokenizer->vocabulary_size());
  fmt::print("  train       {:>10}, {} tokens to predict\n", counted(result.num_train_samples, "sample"),
             result.num_train_targets);
  fmt::print("  validation  {:>10}, {} tokens to predict\n", counted(result.num_validation_samples, "sample"),
             result.num_validation_targets);
  fmt::print("  chance      {:.3g} of whole answers, {:.3g} of tokens\n", chance_of(task).exact, chance_of(task).token);
  if (!task.has_pairs() && options.num_validation_samples > 0) {
    fmt::print("  {:.1f} % of the validation part's keys are in the training part too, in other samples\n",
               100.0 * result.validation_passkeys_seen);
  }
  fmt::print("  train on it with data.whole_documents = true, data.sequence_length = {}\n", task.tokens);
}

}  // namespace

int prepare_task(const TaskCorpusOptions& options, bool json) {
  return run_with_clean_stop("prepare", [&] {
    LiveProgress progress;
    const std::int64_t total = options.num_samples + options.num_validation_samples;
    const TaskCorpusResult result = [&] {
      return prepare_task_corpus(options, [&](std::int64_t done) {
        stop_if_asked();
        if (!progress.is_due()) return;
        const double left_s = progress.elapsed_s() * static_cast<double>(total - done) / static_cast<double>(done);
        progress.show(fmt::format("prepare: {} of {} ({:.0f} %), {:.0f} s left", done, counted(total, "sample"),
                                  100.0 * static_cast<double>(done) / static_cast<double>(total), left_s));
      });
    }();
    json ? print_json(options, result, progress.elapsed_s()) : print_text(options, result);
    return 0;
  });
}

}  // namespace rondo
