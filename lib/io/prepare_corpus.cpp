// SPDX-License-Identifier: Apache-2.0
#include "io/prepare_corpus.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>
#include <utility>

#include "core/error.hpp"
#include "core/random.hpp"
#include "io/corpus_writer.hpp"
#include "io/token_spool.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

/// Decides for one document after the other whether it is for validation: one, drawn by the seed, of each run of 1/fraction
/// documents, so the fraction is right however few there are. The first run ends at kMinDocumentsToDraw at the latest.
class DocumentDraw {
 public:
  DocumentDraw(double fraction, std::uint64_t seed)
      : fraction_(fraction), random_(seed, stream_of("corpus.validation")) {}

  bool next() {
    if (index_ == end_) begin_run();
    return index_++ == drawn_;
  }

 private:
  void begin_run() {
    const auto run_begin = std::ceil(static_cast<double>(run_) / fraction_);
    const auto run_end = std::ceil(static_cast<double>(run_ + 1) / fraction_);
    auto length = static_cast<std::int64_t>(run_end - run_begin);
    if (run_ == 0) length = std::min(length, kMinDocumentsToDraw);
    const double draw = random_.uniform(static_cast<std::uint64_t>(run_));
    drawn_ = index_ + static_cast<std::int64_t>(draw * static_cast<double>(length));
    end_ = index_ + length;
    ++run_;
  }

  double fraction_;
  CounterRandom random_;
  std::int64_t run_ = 0, index_ = 0, end_ = 0, drawn_ = 0;
};

/// Receives documents from the readers. The rule that splits them depends on how many there are, so the tokens of the first 99
/// go to a spool; at the hundredth the rule is known, and tokens go directly to their split from then on.
class CorpusBuilder final : public DocumentSink {
 public:
  CorpusBuilder(const PrepareOptions& options, const Tokenizer& tokenizer, const std::vector<std::string>& files,
                std::function<void()> tick)
      : options_(options),
        tick_(std::move(tick)),
        takes_ids_(tokenizer.kind() == "ids"),
        encoder_(tokenizer.make_encoder()),
        writer_(options.output, tokenizer, TargetRecord::None, files),
        draw_(options.validation, options.seed) {
    if (options.validation > 0) spool_ = std::make_unique<TokenSpool>(writer_.folder());
  }

  bool takes_ids() const override { return takes_ids_; }
  void begin(const std::string& name) override {
    name_ = name;
    num_document_bytes_ = 0;
  }

  void text(std::string_view piece) override {
    tokens_.clear();
    encoder_->encode(piece, tokens_);
    take_tokens();
    num_bytes_since_tick_ += piece.size();
    if (num_bytes_since_tick_ >= kTickBytes) {
      num_bytes_since_tick_ = 0;
      if (tick_) tick_();
    }
  }

  void end() override {
    tokens_.clear();
    encoder_->finish(tokens_);
    take_tokens();
    if (num_document_bytes_ == 0) {
      ++result_.num_empty_documents;
    } else if (spool_) {
      spooled_.push_back({std::move(name_), num_document_bytes_});
    } else {
      writer_.end_document(split_, name_);
    }
  }

  PrepareResult finish() {
    if (num_documents_ == 0) {
      throw DataError("the input has no tokens", display_name(options_.inputs.front()),
                      result_.num_empty_documents > 0 ? "all its documents are empty" : "it is empty");
    }
    if (tick_) tick_();  // the last chance to stop: a signal to a pipe's writer looks like the end of the input
    if (spool_) split_each_document();
    result_.num_replaced = encoder_->num_replaced();
    result_.num_train_tokens = writer_.num_tokens(Split::Train);
    result_.num_validation_tokens = writer_.num_tokens(Split::Validation);
    result_.num_train_documents = writer_.num_documents(Split::Train);
    result_.num_validation_documents = writer_.num_documents(Split::Validation);
    writer_.commit({std::string(name_of(result_.rule)), options_.validation, options_.seed});
    return result_;
  }

  std::int64_t num_tokens() const { return num_tokens_; }
  std::int64_t num_documents() const { return num_documents_; }

 private:
  static constexpr std::size_t kTickBytes = std::size_t{1} << 20;
  struct SpooledDocument {
    std::string name;
    std::int64_t num_bytes;
  };

  void take_tokens() {
    if (tokens_.empty()) return;
    if (num_document_bytes_ == 0) start_document();
    narrow_tokens(tokens_, writer_.token_type(), narrow_);
    num_document_bytes_ += static_cast<std::int64_t>(narrow_.size());
    num_tokens_ += static_cast<std::int64_t>(tokens_.size());
    if (spool_) {
      spool_->append(narrow_);
    } else {
      writer_.append(split_, narrow_);
    }
  }

  /// Called at the first token of a document.
  void start_document() {
    ++num_documents_;
    if (options_.validation == 0) return;  // all documents are for training
    if (num_documents_ == kMinDocumentsToDraw) draw_spooled_documents();
    if (!spool_) split_ = draw_.next() ? Split::Validation : Split::Train;
  }

  void draw_spooled_documents() {
    result_.rule = SplitRule::WholeDocuments;
    std::int64_t first = 0;
    for (const SpooledDocument& document : spooled_) {
      const Split split = draw_.next() ? Split::Validation : Split::Train;
      copy(split, first, document.num_bytes, document.name);
      first += document.num_bytes;
    }
    spooled_.clear();
    spool_.reset();
  }

  void split_each_document() {
    result_.rule = SplitRule::LastPartOfEach;
    const auto token_bytes = static_cast<std::int64_t>(size_of(writer_.token_type()));
    std::int64_t first = 0;
    for (const SpooledDocument& document : spooled_) {
      const std::int64_t length = document.num_bytes / token_bytes;
      const auto share = std::llround(static_cast<double>(length) * options_.validation);
      const std::int64_t validation = std::min<std::int64_t>(share, length - 1) * token_bytes;
      const std::int64_t train = document.num_bytes - validation;
      copy(Split::Train, first, train, document.name);
      if (validation > 0) copy(Split::Validation, first + train, validation, document.name);
      first += document.num_bytes;
    }
  }

  void copy(Split split, std::int64_t first, std::int64_t num_bytes, const std::string& name) {
    spool_->read(first, num_bytes, [&](std::span<const std::byte> piece) { writer_.append(split, piece); });
    writer_.end_document(split, name);
  }

  const PrepareOptions& options_;
  std::function<void()> tick_;
  bool takes_ids_;
  std::unique_ptr<TokenEncoder> encoder_;
  CorpusWriter writer_;
  DocumentDraw draw_;
  std::unique_ptr<TokenSpool> spool_;  // until the rule is known
  std::vector<SpooledDocument> spooled_;
  Split split_ = Split::Train;  // of the current document, once the rule is known
  std::string name_;
  std::int64_t num_document_bytes_ = 0, num_tokens_ = 0, num_documents_ = 0;
  std::size_t num_bytes_since_tick_ = 0;
  std::vector<std::uint32_t> tokens_;
  std::vector<std::byte> narrow_;
  PrepareResult result_;
};

/// Bytes of all inputs; 0 when one of them is a pipe.
std::int64_t total_bytes(const std::vector<PlannedInput>& plan) {
  std::int64_t total = 0;
  for (const PlannedInput& input : plan) {
    if (input.use != InputUse::Read) continue;
    if (input.is_pipe) return 0;
    total += input.num_bytes;
  }
  return total;
}

}  // namespace

std::string_view name_of(SplitRule rule) {
  switch (rule) {
    case SplitRule::None: return "none";
    case SplitRule::WholeDocuments: return "whole documents, drawn by seed";
    case SplitRule::LastPartOfEach: return "the last part of each document";
  }
  return "none";
}

PrepareResult prepare_corpus(const PrepareOptions& options, const Tokenizer& tokenizer,
                             const std::function<void(const PrepareProgress&)>& progress) {
  const bool is_share = options.validation >= 0 && options.validation <= 0.5;  // false for NaN
  if (!is_share) {
    throw ConfigError("must be from 0 to 0.5, not " + std::to_string(options.validation), "--validation");
  }
  std::vector<PlannedInput> plan =
      plan_inputs({.inputs = options.inputs, .output = options.output, .format = options.format, .stop = options.stop});
  expect_none_refused(plan);
  std::vector<std::string> files;
  for (const PlannedInput& input : plan) {
    if (input.use == InputUse::Read) files.push_back(input.path);
  }
  PrepareProgress state{.total_input_bytes = total_bytes(plan)};
  const ByteStream* open_stream = nullptr;
  std::int64_t done_bytes = 0;
  const CorpusBuilder* open_builder = nullptr;
  CorpusBuilder builder(options, tokenizer, files, [&] {
    state.num_input_bytes = done_bytes + (open_stream != nullptr ? open_stream->num_raw_bytes() : 0);
    state.num_tokens = open_builder->num_tokens();
    state.num_documents = open_builder->num_documents();
    if (progress) progress(state);
  });
  open_builder = &builder;
  std::vector<std::string> warnings;
  for (PlannedInput& input : plan) {
    if (input.use != InputUse::Read) continue;
    ByteStream stream = ByteStream::open(input.path, options.stop);
    open_stream = &stream;
    if (!input.format) recognise_into(input, stream);
    expect_none_refused(std::span(&input, 1));
    read_documents(stream, *input.format, builder);
    if (std::string warning = stream.warning(); !warning.empty()) warnings.push_back(std::move(warning));
    done_bytes += stream.num_raw_bytes();
    open_stream = nullptr;
  }
  PrepareResult result = builder.finish();
  std::ranges::move(warnings_of(plan), std::back_inserter(warnings));
  result.warnings = std::move(warnings);
  result.num_files = std::ssize(files);
  result.num_left_out = std::ssize(plan) - result.num_files;
  result.num_input_bytes = done_bytes;
  return result;
}

}  // namespace rondo
