// SPDX-License-Identifier: Apache-2.0
#include "model/memory_chain.hpp"

#include <algorithm>
#include <string>

namespace rondo {

namespace {

void require_consecutive(const SequenceLayout& layout, const TokenRun& tokens) {
  if (tokens.stride == 1) return;
  throw ConfigError("a compressive memory needs consecutive positions on a rank, which layout \"" +
                        std::string(name_of(layout.kind())) + "\" does not give",
                    "parallel.layout", "use \"contiguous\" or \"auto\"");
}

bool starts_document(const AttentionMaskView& mask, const TokenRun& tokens) {
  return mask.document_of(tokens.global_last()).begin >= tokens.global_first;
}

/// The keys that the queries of a rank attend to: its runs, each with the window before it, merged where they touch.
TokenRuns keys_of(const TokenRuns& queries, const AttentionMaskView& mask) {
  TokenRuns keys;
  KeyInterval joined{0, 0};
  for (const TokenRun& run : queries) {
    const KeyInterval seen{mask.keys_of(run.global_first).begin, run.global_last() + 1};
    if (seen.begin <= joined.end && joined.end > 0) {
      joined.end = seen.end;
      continue;
    }
    keys.append(joined.begin, 1, joined.end - joined.begin);
    joined = seen;
  }
  keys.append(joined.begin, 1, joined.end - joined.begin);
  return keys;
}

MemorySchedule schedule_of(const TokenRun& tokens, const TokenRuns& keys, const AttentionMaskView& mask) {
  const std::int64_t L = mask.segment_tokens, end = tokens.global_last() + 1;
  MemorySchedule schedule{.segment_tokens = L, .steps = {}};
  for (std::int64_t position = tokens.global_first; position < end;) {
    const KeyInterval document = mask.document_of(position);
    const std::int64_t segment = (position - document.begin) / L;
    const std::int64_t segment_end = document.begin + (segment + 1) * L;
    const std::int64_t next = std::min({segment_end, document.end, end});
    MemoryStep step{.is_reset = position == document.begin,
                    .first_query = tokens.local_first + position - tokens.global_first,
                    .num_queries = next - position};
    const std::int64_t written = segment - mask.window_segments;
    if (next == segment_end && written >= 0) step.first_key = index_of(keys, document.begin + written * L);
    schedule.steps.push_back(step);
    position = next;
  }
  return schedule;
}

}  // namespace

std::int64_t index_of(const TokenRuns& runs, std::int64_t position) {
  for (const TokenRun& run : runs) {
    if (position >= run.global_first && position <= run.global_last()) {
      return run.local_first + position - run.global_first;
    }
  }
  ensure(false, "the position lies in one of the runs");
  return -1;
}

MemoryChain::MemoryChain(const SequenceLayout& layout, const AttentionMaskView& mask, int rank) {
  ensure(mask.segment_tokens > 0, "a memory has segments");
  for (int owner = 0; owner < layout.ring(); ++owner) {
    for (const TokenRun& tokens : layout.runs(owner)) {
      require_consecutive(layout, tokens);
      runs_.push_back({owner, tokens, starts_document(mask, tokens)});
    }
  }
  std::ranges::sort(runs_, {}, [](const MemoryRun& run) { return run.tokens.global_first; });
  for (const MemoryRun& run : runs_) scan_elements_.push_back({run.rank, run.is_reset});
  keys_ = keys_of(layout.runs(rank), mask);
  num_carried_keys_ = std::max<std::int64_t>(0, layout.first_position() - keys_[0].global_first);
  next_window_ = {mask.keys_of(layout.end_position()).begin, layout.end_position()};
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i].rank != rank) continue;
    mine_.push_back(i);
    schedules_.push_back(schedule_of(runs_[i].tokens, keys_, mask));
  }
  for (int to = 0; to < layout.ring(); ++to) {
    for (const TokenRun& needed : keys_of(layout.runs(to), mask)) {
      for (const MemoryRun& source : runs_) {
        const std::int64_t first = std::max(needed.global_first, source.tokens.global_first);
        const std::int64_t last = std::min(needed.global_last(), source.tokens.global_last());
        if (source.rank != to && first <= last) transfers_.push_back({source.rank, to, first, last - first + 1});
      }
    }
  }
}

}  // namespace rondo
