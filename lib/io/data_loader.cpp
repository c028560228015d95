// SPDX-License-Identifier: Apache-2.0
#include "io/data_loader.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/random.hpp"

namespace rondo {

namespace {

// A run is read in pieces of this many consecutive tokens of the stream, only some of which a striped shard uses.
constexpr std::int64_t kPieceTokens = 8 * 1024;

/// Local index of a position of the sequence, or -1 if another rank owns it.
std::int64_t local_index_of(const TokenRuns& runs, std::int64_t position) {
  for (const TokenRun& run : runs) {
    const std::int64_t distance = position - run.global_first;
    if (distance >= 0 && distance % run.stride == 0 && distance / run.stride < run.count) {
      return run.local_first + distance / run.stride;
    }
  }
  return -1;
}

}  // namespace

void require_whole_sequence(const TokenCorpus& corpus, Split split, std::int64_t length) {
  const std::int64_t tokens = corpus.num_tokens(split);
  if (tokens >= length) return;
  throw DataError("one sequence of data.sequence_length = " + std::to_string(length) + " tokens is longer than all " +
                      std::to_string(tokens) + " tokens of this split",
                  corpus.path() + ":" + std::string(name_of(split)),
                  "use a larger corpus, or a sequence_length of at most " + std::to_string(tokens));
}

void require_whole_documents(const TokenCorpus& corpus, Split split, std::int64_t length) {
  const auto offsets = corpus.document_offsets(split);
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const std::int64_t first = offsets[i], last = offsets[i + 1] - 1;
    if (first / length == last / length) continue;
    const auto document = static_cast<std::int64_t>(i);
    throw DataError(
        "document " + std::to_string(document) + ", " + corpus.document_name(split, document) + ", of " +
            std::to_string(last + 1 - first) + " tokens from " + std::to_string(first) +
            " on, is cut by sequences of " + std::to_string(length) +
            " tokens, but data.whole_documents asks for whole ones",
        corpus.path() + ":" + std::string(name_of(split)),
        "set data.sequence_length to a multiple of the documents' length, or data.whole_documents to false");
  }
}

DataLoader::DataLoader(const TokenCorpus& corpus, Split split, const DataLoaderOptions& options)
    : corpus_(corpus),
      split_(split),
      options_(options),
      num_tokens_(corpus.num_tokens(split)),
      hull_(static_cast<std::size_t>(kPieceTokens + 1)) {
  const std::int64_t length = options.sequence_length;
  if (length < 1) throw ConfigError("must be at least 1, not " + std::to_string(length), "data.sequence_length");
  const std::string where = corpus.path() + ":" + std::string(name_of(split));
  if (num_tokens_ == 0) {
    throw DataError("this split has no tokens", where, "prepare the corpus again with a larger --validation");
  }
  if (options.shuffle) require_whole_sequence(corpus, split, length);
  if (options.whole_documents) require_whole_documents(corpus, split, length);
  sequences_per_epoch_ = num_tokens_ / length + (!options.shuffle && num_tokens_ % length != 0 ? 1 : 0);
  max_documents_ = max_documents_of_sequence();
  if (!corpus.tokenizer().every_id_is_target()) {
    is_target_.resize(static_cast<std::size_t>(corpus.vocabulary_size()));
    for (std::size_t id = 0; id < is_target_.size(); ++id) {
      is_target_[id] = corpus.tokenizer().is_target(static_cast<std::int32_t>(id));
    }
  }
}

std::int64_t DataLoader::max_documents_of_sequence() const {
  const auto offsets = corpus_.document_offsets(split_);
  const std::int64_t documents = corpus_.num_documents(split_);
  const auto begin_of = [&](std::int64_t document) {  // on the stream as a circle, for up to two passes
    return document < documents ? offsets[static_cast<std::size_t>(document)]
                                : num_tokens_ + offsets[static_cast<std::size_t>(document - documents)];
  };
  const std::int64_t length = std::min(options_.sequence_length, num_tokens_);
  std::int64_t most = 1, behind = 0;
  for (std::int64_t document = 0; document < documents; ++document) {  // a sequence that begins with its last token
    const std::int64_t end = begin_of(document + 1) - 1 + length;
    while (behind < 2 * documents && begin_of(behind) < end) ++behind;
    most = std::max(most, behind - document);
  }
  return most;
}

std::int64_t DataLoader::sequence_tokens(std::int64_t sequence_index) const {
  if (options_.shuffle) return options_.sequence_length;
  return std::min(options_.sequence_length, num_tokens_ - stream_position_of(sequence_index));
}

std::int64_t DataLoader::stream_position_of(std::int64_t sequence_index) const {
  ensure(sequence_index >= 0, "sequences are counted from 0");
  const std::int64_t length = options_.sequence_length;
  if (!options_.shuffle) {
    ensure(sequence_index < sequences_per_epoch_, "the sequence lies in the split");
    return sequence_index * length;
  }
  const auto num_windows = static_cast<std::uint64_t>(sequences_per_epoch_);
  const auto index = static_cast<std::uint64_t>(sequence_index);
  const std::uint64_t epoch = index / num_windows;
  const std::uint64_t phase =
      options_.whole_documents
          ? 0
          : CounterRandom(options_.seed, stream_of("data.phase")).bits(epoch) % static_cast<std::uint64_t>(length);
  const RandomPermutation order(num_windows, options_.seed, stream_of("data.order") + epoch);
  const auto window = static_cast<std::int64_t>(order(index % num_windows));
  return (static_cast<std::int64_t>(phase) + window * length) % num_tokens_;
}

LoadedSequence DataLoader::load(std::int64_t sequence_index, const TokenRuns& runs) const {
  LoadedSequence sequence;
  load_into(sequence_index, runs, sequence);
  return sequence;
}

void DataLoader::load_into(std::int64_t sequence_index, const TokenRuns& runs, LoadedSequence& sequence) const {
  const std::int64_t length = sequence_tokens(sequence_index);
  const std::int64_t stream_first = stream_position_of(sequence_index);
  reserve(runs.num_tokens(), sequence);
  sequence.tokens.resize(static_cast<std::size_t>(runs.num_tokens()));
  sequence.targets.resize(static_cast<std::size_t>(runs.num_tokens()));
  find_documents(stream_first, length, sequence);
  for (const TokenRun& run : runs) {
    ensure(run.global_first >= 0 && run.global_last() < length, "the runs lie in the sequence");
    read_run(stream_first, run, sequence);
  }
  if (corpus_.records_targets(split_)) keep_recorded_targets(stream_first, runs, sequence);
  drop_targets(length, runs, sequence);
}

void DataLoader::reserve(std::int64_t shard_tokens, LoadedSequence& sequence) const {
  sequence.tokens.reserve(static_cast<std::size_t>(shard_tokens));
  sequence.targets.reserve(static_cast<std::size_t>(shard_tokens));
  sequence.documents.reserve(static_cast<std::size_t>(max_documents_));
  sequence.document_offsets.reserve(static_cast<std::size_t>(max_documents_) + 1);
}

void DataLoader::find_documents(std::int64_t stream_first, std::int64_t length, LoadedSequence& sequence) const {
  const auto offsets = corpus_.document_offsets(split_);
  sequence.documents.clear();
  std::int64_t document = corpus_.document_of(split_, stream_first), from = stream_first;
  for (std::int64_t position = 0; position < length;) {
    const std::int64_t begin = offsets[static_cast<std::size_t>(document)];
    sequence.documents.push_back({document, from - begin, position});
    position += offsets[static_cast<std::size_t>(document + 1)] - from;
    document = document + 1 < corpus_.num_documents(split_) ? document + 1 : 0;
    from = offsets[static_cast<std::size_t>(document)];
  }

  sequence.document_offsets.clear();
  sequence.document_offsets.push_back(0);
  for (std::size_t i = 1; options_.isolate_documents && i < sequence.documents.size(); ++i) {
    sequence.document_offsets.push_back(sequence.documents[i].first_position);
  }
  sequence.document_offsets.push_back(length);
}

void DataLoader::read_run(std::int64_t stream_first, const TokenRun& run, LoadedSequence& sequence) const {
  for (std::int64_t i = 0; i < run.count;) {
    const std::int64_t first = run.global_of(i);
    const std::int64_t last = std::min(run.global_last(), first + kPieceTokens - 1);
    read_stream(stream_first + first, std::span(hull_).first(static_cast<std::size_t>(last - first + 2)));
    for (; i < run.count && run.global_of(i) <= last; ++i) {
      const auto local = static_cast<std::size_t>(run.local_first + i);
      const auto in_hull = static_cast<std::size_t>(run.global_of(i) - first);
      sequence.tokens[local] = hull_[in_hull];
      sequence.targets[local] = hull_[in_hull + 1];
    }
  }
}

void DataLoader::read_stream(std::int64_t stream_first, std::span<std::int32_t> to) const {
  std::int64_t first = stream_first % num_tokens_;
  while (!to.empty()) {
    const auto count = std::min(num_tokens_ - first, static_cast<std::int64_t>(to.size()));
    corpus_.read_tokens(split_, first, to.first(static_cast<std::size_t>(count)));
    to = to.subspan(static_cast<std::size_t>(count));
    first = 0;
  }
}

void DataLoader::keep_recorded_targets(std::int64_t stream_first, const TokenRuns& runs,
                                       LoadedSequence& sequence) const {
  TargetLookup recorded(corpus_.target_ranges(split_));
  for (const TokenRun& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) {
      const std::int64_t target_position = (stream_first + run.global_of(i) + 1) % num_tokens_;
      if (recorded.contains(target_position)) continue;
      sequence.targets[static_cast<std::size_t>(run.local_first + i)] = kNoTarget;
    }
  }
}

void DataLoader::drop_targets(std::int64_t length, const TokenRuns& runs, LoadedSequence& sequence) const {
  const auto offsets = corpus_.document_offsets(split_);
  for (std::size_t i = 0; i < sequence.documents.size(); ++i) {
    const DocumentPosition& piece = sequence.documents[i];
    const std::int64_t document_end = offsets[static_cast<std::size_t>(piece.document + 1)];
    const std::int64_t document_tokens = document_end - offsets[static_cast<std::size_t>(piece.document)];
    const std::int64_t last_position = piece.first_position + document_tokens - piece.offset_in_document - 1;
    // The last document's last token has no target: sequences wrap around the end of the stream, prediction does not.
    if (last_position >= length) continue;
    if (!options_.isolate_documents && document_end != num_tokens_) continue;
    if (const std::int64_t local = local_index_of(runs, last_position); local >= 0) {
      sequence.targets[static_cast<std::size_t>(local)] = kNoTarget;
    }
  }
  sequence.num_targets_local = 0;
  for (std::int32_t& target : sequence.targets) {
    if (target != kNoTarget && !is_target_.empty() && !is_target_[static_cast<std::size_t>(target)]) target = kNoTarget;
    sequence.num_targets_local += target != kNoTarget ? 1 : 0;
  }
}

}  // namespace rondo
