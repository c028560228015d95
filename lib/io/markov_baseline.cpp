// SPDX-License-Identifier: Apache-2.0
#include "io/markov_baseline.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kMaxCounters = std::int64_t{1} << 24;
constexpr double kSmoothing = 0.1;
constexpr int kMaxOrder = 8;

/// Counts of [context, next] for every context of one length.
struct Counts {
  std::vector<std::uint64_t> next;     // [V^order, V]
  std::vector<std::uint64_t> context;  // [V^order]
};

/// Calls visit(order, context, target) for every target of the split: `order` is the number of tokens before it in its
/// document, at most max_order, and `context` is the last `order` tokens as one number in base V.
template <typename Visit> void for_each_target(const TokenCorpus& corpus, Split split, int max_order, Visit visit) {
  const std::int64_t vocabulary = corpus.vocabulary_size();
  std::int64_t keep = 1;  // V^max_order: older tokens fall out of the context
  for (int i = 0; i < max_order; ++i) keep *= vocabulary;
  const Tokenizer& tokenizer = corpus.tokenizer();
  const auto offsets = corpus.document_offsets(split);
  TargetLookup targets(corpus.target_ranges(split));
  std::vector<std::int32_t> tokens(std::size_t{1} << 16);
  std::int64_t context = 0, document = 0;
  for (std::int64_t first = 0; first < corpus.num_tokens(split);) {
    const auto count = std::min(static_cast<std::int64_t>(tokens.size()), corpus.num_tokens(split) - first);
    corpus.read_tokens(split, first, std::span(tokens).first(static_cast<std::size_t>(count)));
    for (std::int64_t i = 0; i < count; ++i) {
      while (first + i >= offsets[static_cast<std::size_t>(document + 1)]) ++document;
      const std::int64_t distance = first + i - offsets[static_cast<std::size_t>(document)];
      if (distance == 0) context = 0;
      const std::int32_t token = tokens[static_cast<std::size_t>(i)];
      const bool is_asked = !corpus.records_targets(split) || targets.contains(first + i);
      if (distance > 0 && is_asked && tokenizer.is_target(token)) {
        visit(static_cast<int>(std::min<std::int64_t>(distance, max_order)), context, token);
      }
      context = (context * vocabulary + token) % keep;
    }
    first += count;
  }
}

}  // namespace

std::vector<MarkovBaseline> markov_baselines(const TokenCorpus& corpus, int max_order) {
  ensure(max_order >= 0 && max_order <= kMaxOrder, "the order is from 0 to 8");
  const std::int64_t vocabulary = corpus.vocabulary_size();
  std::vector<Counts> counts;  // [order]
  std::vector<std::int64_t> num_contexts;
  for (std::int64_t contexts = 1; std::ssize(counts) <= max_order && contexts <= kMaxCounters / vocabulary;
       contexts *= vocabulary) {
    counts.push_back({std::vector<std::uint64_t>(static_cast<std::size_t>(contexts * vocabulary)),
                      std::vector<std::uint64_t>(static_cast<std::size_t>(contexts))});
    num_contexts.push_back(contexts);
  }
  const int highest = static_cast<int>(counts.size()) - 1;
  if (highest < 0) return {};

  for_each_target(corpus, Split::Train, highest, [&](int available, std::int64_t context, std::int32_t target) {
    for (int order = 0; order <= available; ++order) {
      Counts& table = counts[static_cast<std::size_t>(order)];
      const std::int64_t row = context % num_contexts[static_cast<std::size_t>(order)];
      ++table.next[static_cast<std::size_t>(row * vocabulary + target)];
      ++table.context[static_cast<std::size_t>(row)];
    }
  });

  std::vector<MarkovBaseline> baselines(counts.size());
  for_each_target(corpus, Split::Validation, highest, [&](int available, std::int64_t context, std::int32_t target) {
    for (int order = 0; order <= highest; ++order) {
      const auto used = static_cast<std::size_t>(std::min(order, available));
      const std::int64_t row = context % num_contexts[used];
      const auto seen = static_cast<double>(counts[used].next[static_cast<std::size_t>(row * vocabulary + target)]);
      const auto total = static_cast<double>(counts[used].context[static_cast<std::size_t>(row)]);
      MarkovBaseline& baseline = baselines[static_cast<std::size_t>(order)];
      baseline.nats_per_token -= std::log((seen + kSmoothing) / (total + kSmoothing * static_cast<double>(vocabulary)));
      ++baseline.num_targets;
    }
  });
  for (int order = 0; order <= highest; ++order) {
    MarkovBaseline& baseline = baselines[static_cast<std::size_t>(order)];
    baseline.order = order;
    if (baseline.num_targets > 0) baseline.nats_per_token /= static_cast<double>(baseline.num_targets);
  }
  return baselines;
}

}  // namespace rondo
