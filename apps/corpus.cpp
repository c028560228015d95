// SPDX-License-Identifier: Apache-2.0
// `rondo corpus info|sample|verify`: inspects a corpus. Does not start MPI.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "apps/figures.hpp"
#include "core/error.hpp"
#include "core/random.hpp"
#include "core/utf8.hpp"
#include "io/markov_baseline.hpp"
#include "io/token_corpus.hpp"

namespace rondo {

namespace {

constexpr int kMaxOrder = 2;

struct CorpusCommand {
  std::string path;
  bool json = false;
  bool baselines = false;
  std::string split = "train";
  std::int64_t document = -1;  // -1: drawn at random
  std::int64_t offset = 0, num_tokens = 400;
  std::uint64_t seed = 0;
};

void print_json(const nlohmann::ordered_json& document) {
  std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

struct DocumentLengths {
  std::int64_t shortest = 0, longest = 0;
};
DocumentLengths lengths_of(std::span<const std::int64_t> offsets) {
  DocumentLengths lengths;
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    const std::int64_t length = offsets[i] - offsets[i - 1];
    lengths.shortest = i == 1 ? length : std::min(lengths.shortest, length);
    lengths.longest = std::max(lengths.longest, length);
  }
  return lengths;
}

/// The number of recorded targets. @pre the corpus records targets
std::int64_t num_targets(const TokenCorpus& corpus, Split split) {
  std::int64_t count = 0;
  for (const TargetRange& range : corpus.target_ranges(split)) count += range.end - range.first;
  return count;
}

/// The targets among tokens [first, end) of the split, relative to `origin`.
std::vector<std::int64_t> targets_between(const TokenCorpus& corpus, Split split, std::int64_t first, std::int64_t end,
                                          std::int64_t origin) {
  TargetLookup recorded(corpus.target_ranges(split));
  std::vector<std::int64_t> targets;
  for (std::int64_t position = first; position < end; ++position) {
    if (recorded.contains(position)) targets.push_back(position - origin);
  }
  return targets;
}

void print_info_json(const TokenCorpus& corpus, const std::vector<MarkovBaseline>& baselines) {
  nlohmann::ordered_json document{{"path", corpus.path()},
                                  {"tokenizer", corpus.tokenizer().kind()},
                                  {"tokenizer_digest", corpus.tokenizer_digest()},
                                  {"vocabulary_size", corpus.vocabulary_size()},
                                  {"validation_rule", corpus.split_rule()}};
  if (!corpus.task().empty()) document["task"] = nlohmann::ordered_json::parse(corpus.task(), nullptr, false);
  for (Split split : {Split::Train, Split::Validation}) {
    const DocumentLengths lengths = lengths_of(corpus.document_offsets(split));
    document[std::string(name_of(split))] = {{"tokens", corpus.num_tokens(split)},
                                             {"documents", corpus.num_documents(split)},
                                             {"shortest_document", lengths.shortest},
                                             {"longest_document", lengths.longest},
                                             {"tokens_digest", corpus.tokens_digest(split)}};
    if (corpus.records_targets(split)) document[std::string(name_of(split))]["targets"] = num_targets(corpus, split);
  }
  for (const MarkovBaseline& baseline : baselines) {
    document["baselines"].push_back({{"order", baseline.order},
                                     {"nats_per_token", baseline.nats_per_token},
                                     {"bits_per_token", baseline.nats_per_token / std::numbers::ln2},
                                     {"targets", baseline.num_targets}});
  }
  print_json(document);
}

void print_info(const TokenCorpus& corpus, const std::vector<MarkovBaseline>& baselines) {
  const Tokenizer& tokenizer = corpus.tokenizer();
  fmt::print("{}\n", corpus.path());
  fmt::print("  tokenizer   {}, {} ids, digest {}\n", tokenizer.kind(), tokenizer.vocabulary_size(),
             corpus.tokenizer_digest());
  for (Split split : {Split::Train, Split::Validation}) {
    const DocumentLengths lengths = lengths_of(corpus.document_offsets(split));
    fmt::print("  {:<10}  {:>14} tokens in {} of {} to {}\n", name_of(split), corpus.num_tokens(split),
               counted(corpus.num_documents(split), "document"), lengths.shortest, lengths.longest);
    if (corpus.records_targets(split))
      fmt::print("  {:<10}  {:>14} of them are targets\n", "", num_targets(corpus, split));
  }
  fmt::print("  held out    {}\n", corpus.split_rule());
  if (!corpus.task().empty()) fmt::print("  task        {}\n", corpus.task());
  if (baselines.empty()) return;
  fmt::print("  Markov baselines: counted on train, measured on {} targets of validation\n",
             baselines.front().num_targets);
  for (const MarkovBaseline& baseline : baselines) {
    fmt::print("    order {}   {:.4f} nats per token   {:.4f} bits per {}\n", baseline.order, baseline.nats_per_token,
               baseline.nats_per_token / std::numbers::ln2, tokenizer.unit());
  }
}

int info(const CorpusCommand& command) {
  const TokenCorpus corpus(command.path);
  std::vector<MarkovBaseline> baselines;
  if (command.baselines) {
    if (corpus.num_tokens(Split::Validation) == 0) {
      throw DataError("has no validation part to measure baselines on", command.path,
                      "prepare it with --validation 0.02");
    }
    baselines = markov_baselines(corpus, kMaxOrder);
    if (std::ssize(baselines) <= kMaxOrder) {
      std::fprintf(stderr, "note: only orders below %zd: %lld ids are too many to count more\n", std::ssize(baselines),
                   static_cast<long long>(corpus.vocabulary_size()));
    }
  }
  command.json ? print_info_json(corpus, baselines) : print_info(corpus, baselines);
  return 0;
}

int sample(const CorpusCommand& command) {
  const TokenCorpus corpus(command.path);
  if (command.split != "train" && command.split != "validation") {
    throw ConfigError("unknown part \"" + command.split + "\"", "--split", "known: train, validation");
  }
  const Split split = command.split == "train" ? Split::Train : Split::Validation;
  const std::int64_t num_documents = corpus.num_documents(split);
  if (num_documents == 0) throw DataError("has no documents in its part " + command.split, command.path);
  const std::uint64_t drawn = CounterRandom(command.seed, stream_of("corpus.sample")).bits(0);
  const std::int64_t document = command.document >= 0
                                    ? command.document
                                    : static_cast<std::int64_t>(drawn % static_cast<std::uint64_t>(num_documents));
  if (document >= num_documents) {
    throw ConfigError("there are documents 0 to " + std::to_string(num_documents - 1), "--document");
  }
  const auto bounds = corpus.document_offsets(split).subspan(static_cast<std::size_t>(document), 2);
  const std::int64_t length = bounds[1] - bounds[0];
  if (command.offset < 0 || command.offset >= length) {
    throw ConfigError("the document has tokens 0 to " + std::to_string(length - 1), "--offset");
  }
  std::vector<std::int32_t> tokens(
      static_cast<std::size_t>(std::clamp<std::int64_t>(command.num_tokens, 0, length - command.offset)));
  corpus.read_tokens(split, bounds[0] + command.offset, tokens);
  const std::string name = corpus.document_name(split, document);
  const std::string text = corpus.tokenizer().decode(tokens);
  if (command.json) {
    nlohmann::ordered_json excerpt{
        {"part", command.split},    {"document", document}, {"name", name}, {"document_tokens", length},
        {"offset", command.offset}, {"tokens", tokens},     {"text", text}};
    if (corpus.records_targets(split)) {
      const std::int64_t first = bounds[0] + command.offset;
      excerpt["targets"] = targets_between(corpus, split, first, first + std::ssize(tokens), bounds[0]);
    }
    print_json(excerpt);
    return 0;
  }
  std::fprintf(stderr, "%s document %lld of %lld: %s\n", command.split.c_str(), static_cast<long long>(document),
               static_cast<long long>(num_documents), shown_as_utf8(name).c_str());
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
  return 0;
}

int verify(const CorpusCommand& command) {
  const std::int64_t num_bytes = verify_corpus(command.path);
  if (command.json) {
    print_json({{"path", command.path}, {"valid", true}, {"bytes", num_bytes}});
  } else {
    fmt::print("{}: {} bytes read, every digest is right\n", command.path, num_bytes);
  }
  return 0;
}

CLI::App* add_action(Program& program, CLI::App& group, const CommandText& text,
                     const std::shared_ptr<CorpusCommand>& options, int (*action)(const CorpusCommand&)) {
  CLI::App* command = add_command(program, group, text, [options, action] { return action(*options); });
  command->add_option("file", options->path, "a corpus made by `rondo prepare`")->required()->type_name("FILE");
  add_json_option(*command, options->json);
  return command;
}

}  // namespace

void add_corpus(Program& program) {
  auto options = std::make_shared<CorpusCommand>();
  CLI::App* group =
      add_group(program, {"corpus", "Look into a corpus: info, sample, verify.", "rondo corpus info corpus.h5"});
  CLI::App* info_command = add_action(
      program, *group, {"info", "What a corpus holds.", "rondo corpus info corpus.h5 --baselines"}, options, info);
  info_command->add_flag("--baselines", options->baselines,
                         "also how well counts of 0, 1 and 2 tokens of context predict the validation part");
  CLI::App* sample_command =
      add_action(program, *group, {"sample", "A decoded excerpt.", "rondo corpus sample corpus.h5 --tokens 1000"},
                 options, sample);
  sample_command->add_option("--split", options->split, "train (if not given) or validation")->type_name("PART");
  sample_command->add_option("--document", options->document, "index of the document; drawn by --seed if not given")
      ->type_name("N");
  sample_command->add_option("--offset", options->offset, "first token in the document, 0 if not given")
      ->type_name("N");
  sample_command->add_option("--tokens", options->num_tokens, "how many, 400 if not given")->type_name("N");
  add_seed_option(*sample_command, options->seed, "draws the document, 0 if not given");
  add_action(program, *group,
             {"verify", "Read everything and compare it with the recorded digests.", "rondo corpus verify corpus.h5"},
             options, verify);
}

}  // namespace rondo
