// SPDX-License-Identifier: Apache-2.0
#include "apps/eval_task.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "apps/figures.hpp"
#include "apps/live_progress.hpp"
#include "apps/stored_model_options.hpp"
#include "core/log.hpp"
#include "infer/stored_model.hpp"
#include "infer/task_evaluator.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

namespace {

using Json = nlohmann::ordered_json;

/// The model and the task that it is evaluated on.
struct Subject {
  StoredModelInfo model;
  TaskOptions task;
  double passkeys_seen = 0;  // fraction that occurred in training
};

Subject open_subject(const Communicator& world, const CLI::App& command, EvalTaskOptions& options) {
  const std::filesystem::path folder = find_checkpoint(world, options.checkpoint);
  Subject subject;
  agree_on(world, [&] {
    subject.model = read_model_info(folder);
    options.arguments.options.seed = options.seed;
    if (command.get_option("--tokens")->count() == 0) {
      options.arguments.options.tokens = subject.model.config.data.sequence_length;
    }
    subject.task = task_options_of(command, options.arguments);
    const auto tokenizer = tokenizer_of(subject.task);
    const Tokenizer& trained = *subject.model.tokenizer;
    if (tokenizer->digest() != subject.model.tokenizer_digest) {
      throw ConfigError(
          fmt::format("the task {} has the tokenizer {} with {} ids, but the model was trained with {} and {}",
                      name_of(subject.task.task), tokenizer->kind(), tokenizer->vocabulary_size(), trained.kind(),
                      trained.vocabulary_size()),
          "--task", "give the numbers of ids that the corpus was prepared with: `rondo corpus info` shows them");
    }
    if (options.train_samples > 0 && !subject.task.has_pairs()) {
      subject.passkeys_seen =
          share_of_passkeys_seen(subject.task, SampleSplit::Test, options.samples, options.train_samples);
    }
  });
  return subject;
}

Json json_of(const Proportion& proportion) {
  const auto interval = proportion.interval();
  return {{"right", proportion.num_right},
          {"all", proportion.num_all},
          {"share", proportion.share()},
          {"low", interval.low},
          {"high", interval.high}};
}

Json json_of(const std::vector<ScoreBucket>& buckets) {
  Json list = Json::array();
  for (const ScoreBucket& bucket : buckets) {
    list.push_back({{"first", bucket.first},
                    {"end", bucket.end},
                    {"exact", json_of(bucket.score.exact)},
                    {"tokens", json_of(bucket.score.tokens)}});
  }
  return list;
}

Json json_of(const TaskScore& score) {
  Json json{{"exact", json_of(score.all.exact)},
            {"tokens", json_of(score.all.tokens)},
            {"by_compressions", json_of(score.by_compressions)}};
  if (!score.by_writes.empty()) json["by_writes"] = json_of(score.by_writes);
  json["wrong"] = {{"all", score.wrong.num_all},
                   {"value_of_another_key", score.wrong.num_other},
                   {"older_value_of_the_key", score.wrong.num_older},
                   {"expected_of_another_key", score.wrong.expected_other},
                   {"expected_older", score.wrong.expected_older}};
  return json;
}

void print_json(const EvalTaskOptions& options, const Subject& subject, const TaskEvaluation& result, int num_ranks,
                double seconds) {
  const ModelWindow window = window_of(subject.model.config.model);
  Json document{{"checkpoint", subject.model.folder.string()},
                {"step", subject.model.step},
                {"tokens_seen", subject.model.tokens_seen},
                {"task", Json::parse(to_json(subject.task))},
                {"samples", result.num_samples},
                {"segment_tokens", window.segment_tokens},
                {"window_segments", window.window_segments},
                {"chance", {{"exact", chance_of(subject.task).exact}, {"token", chance_of(subject.task).token}}},
                {"model", json_of(result.model)}};
  if (result.knocked_out) document["memory_knocked_out"] = json_of(*result.knocked_out);
  if (result.off) document["memory_off"] = json_of(*result.off);
  if (subject.task.has_pairs()) {
    document["chance"]["any_value_not_asked_yet"] =
        result.model.expected_of_guessing / static_cast<double>(result.model.all.exact.num_all);
  }
  document["answers_in_reach_of_local_attention"] = result.model.num_in_reach;
  if (options.train_samples > 0 && !subject.task.has_pairs()) document["passkeys_in_train"] = subject.passkeys_seen;
  document["ranks"] = num_ranks;
  document["seconds"] = seconds;
  std::printf("%s\n", document.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

std::string row(const std::string& name, const AnswerScore& score) {
  const auto shown = [](const Proportion& proportion) {
    const auto interval = proportion.interval();
    return fmt::format("{:>8.4f}  {:.4f} .. {:.4f}", proportion.share(), interval.low, interval.high);
  };
  return fmt::format("{:<20}{:>9}  {}  {}\n", name, score.exact.num_all, shown(score.exact), shown(score.tokens));
}

std::string rows(const std::vector<ScoreBucket>& buckets) {
  std::string text;
  for (const ScoreBucket& bucket : buckets) {
    const bool is_one = bucket.end == bucket.first + 1;
    text += row(is_one ? fmt::format("{}", bucket.first) : fmt::format("{} .. {}", bucket.first, bucket.end - 1),
                bucket.score);
  }
  return text;
}

std::string heading(const std::string& first) {
  return fmt::format("\n{:<20}{:>9}  {:>8}  {:<16}  {:>8}  {:<16}\n", first, "answers", "exact", "95 % interval",
                     "tokens", "95 % interval");
}

void print_text(const EvalTaskOptions& options, const Subject& subject, const TaskEvaluation& result) {
  const ModelWindow window = window_of(subject.model.config.model);
  const ChanceLevel chance = chance_of(subject.task);
  std::string text = fmt::format("task {}: {} of {} tokens\n", name_of(subject.task.task),
                                 counted(result.num_samples, "fresh sample"), subject.task.tokens);
  text += heading("");
  text += row("model", result.model.all);
  if (result.off) text += row("memory off", result.off->all);
  if (result.knocked_out) text += row("memory knocked out", result.knocked_out->all);
  const auto guess = [](const char* name, double exact, double token) {
    return fmt::format("{:<29}  {:>8.4g}  {:<16}  {:>8.4g}\n", name, exact, "", token);
  };
  text += guess("chance", chance.exact, chance.token);
  if (subject.task.has_pairs()) {
    const double share = result.model.expected_of_guessing / static_cast<double>(result.model.all.exact.num_all);
    text += guess("any value not asked yet", share, share);
  }
  if (window.segment_tokens > 0) {
    text += heading("compressions") + rows(result.model.by_compressions);
    if (result.model.num_in_reach > 0) {
      text += fmt::format("{} of {} answers are in reach of the exact attention of all layers, memory or not\n",
                          result.model.num_in_reach, result.model.all.exact.num_all);
    }
  }
  if (!result.model.by_writes.empty()) text += heading("writes of the key") + rows(result.model.by_writes);
  if (const WrongAnswers& wrong = result.model.wrong; wrong.num_all > 0) {
    const auto all = static_cast<double>(wrong.num_all);
    text += fmt::format("\nwrong answers       {:>9}\n", wrong.num_all);
    text += fmt::format("  another key's value {:>7}  {:.4f} of them, {:.4f} expected of a blind guess\n",
                        wrong.num_other, static_cast<double>(wrong.num_other) / all, wrong.expected_other / all);
    text += fmt::format("  an older value      {:>7}  {:.4f} of them, {:.4f} expected of a blind guess\n",
                        wrong.num_older, static_cast<double>(wrong.num_older) / all, wrong.expected_older / all);
  }
  if (options.train_samples > 0 && !subject.task.has_pairs()) {
    text += fmt::format("\n{:.1f} % of these keys were in the {} of training too\n", 100 * subject.passkeys_seen,
                        counted(options.train_samples, "sample"));
  }
  std::fputs(text.c_str(), stdout);
}

}  // namespace

CLI::Option* add_eval_task_options(CLI::App& command, EvalTaskOptions& options) {
  CLI::Option* task = add_task_options(command, options.arguments);
  const auto add = [&](const char* name, std::int64_t& value, std::int64_t least, const char* text) {
    command.add_option(name, value, text)->needs(task)->check(CLI::Range(least, std::int64_t{1} << 40))->type_name("N");
  };
  add("--samples", options.samples, 1, "with --task: how many to ask, 200 if not given");
  add_seed_option(command, options.seed,
                  "with --task: draws the samples, 0 if not given; never those of `rondo prepare`")
      ->needs(task);
  add("--train-samples", options.train_samples, 1,
      "with --task passkey: samples that the model was trained on, of the same seed, to say how many keys it has seen");
  return task;
}

int evaluate_task(const Communicator& world, const CLI::App& command, EvalTaskOptions options) {
  const Subject subject = open_subject(world, command, options);
  RuntimeOptions machine{.ring = 1, .threads = options.threads};
  agree_on(world, [&] { machine.device = device_for(options.device, subject.model); });
  Runtime runtime(world, machine);
  log::info("{} at step {}, {}", subject.model.folder.string(), subject.model.step, runtime.description());
  StoredModel model(runtime.execution(), world, subject.model);
  LiveProgress progress;
  TaskEvaluator evaluator(runtime.execution(), world, model.transformer(), subject.task,
                          {.rule = subject.model.mask_rule(),
                           .window = window_of(subject.model.config.model),
                           .close_gates = [&model] { model.close_gates(); }});
  const TaskEvaluation result = evaluator.run(options.samples, [&](std::int64_t done, std::int64_t all) {
    if (world.rank() != 0 || !progress.is_due()) return;
    const double left_s = progress.elapsed_s() * static_cast<double>(all - done) / static_cast<double>(done);
    progress.show(fmt::format("eval: {:.0f} %, {:.0f} s left",
                              100 * static_cast<double>(done) / static_cast<double>(all), left_s));
  });
  if (world.rank() == 0) {
    options.json ? print_json(options, subject, result, world.size(), progress.elapsed_s())
                 : print_text(options, subject, result);
  }
  return 0;
}

}  // namespace rondo
