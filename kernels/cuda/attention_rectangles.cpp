// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_rectangles.hpp"

#include <algorithm>

namespace rondo::cuda {

namespace {

// The keys that local query i sees are the local keys [begin, end): positions ascend with local indices. Both ends never
// move back as i grows, so what is equal at two queries is equal between them.
class Staircase {
 public:
  Staircase(const AttentionMaskView& mask, const TokenRuns& query_runs, const TokenRuns& key_runs)
      : mask_(mask), query_runs_(query_runs), key_runs_(key_runs) {}

  std::int64_t num_queries() const { return query_runs_.num_tokens(); }

  KeyInterval at(std::int64_t query) const {
    const KeyInterval seen = mask_.keys_of(query_runs_.global_of(query));
    return {first_key_at(seen.begin), first_key_at(seen.end)};
  }

  /// One past the last query from `query` on that sees the same keys.
  std::int64_t end_of_equal(std::int64_t query) const {
    const KeyInterval seen = at(query);
    return end_of(query, num_queries() - 1, [&](std::int64_t later) {
      const KeyInterval other = at(later);
      return other.begin == seen.begin && other.end == seen.end;
    });
  }

  /// One past the last query from `query` on up to which each sees exactly one key more than the one before.
  std::int64_t end_of_diagonal(std::int64_t query) const {
    const std::int64_t begin = at(query).begin;
    std::int64_t last = query;
    while (true) {
      const std::int64_t reach = last + sure_steps(last);
      last = end_of(last, reach, [&](std::int64_t later) { return at(later).begin == begin; }) - 1;
      if (last < reach || last + 1 == num_queries()) break;
      const KeyInterval now = at(last), next = at(last + 1);
      if (next.begin != begin || next.end != now.end + 1) break;
      ++last;
    }
    return last + 1;
  }

 private:
  /// Local index of the first key whose position is at least this one.
  std::int64_t first_key_at(std::int64_t position) const {
    for (const TokenRun& run : key_runs_) {
      if (run.global_last() >= position) return run.local_first + clip_to_run({0, position}, run).end;
    }
    return key_runs_.num_tokens();
  }

  /// One past the last of [first, last] for which `holds`, which holds at first and, once it fails, fails for good.
  template <typename Predicate>
  static std::int64_t end_of(std::int64_t first, std::int64_t last, const Predicate& holds) {
    std::int64_t low = first, high = last + 1;  // holds at low, and fails at high
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (holds(middle) ? low : high) = middle;
    }
    return high;
  }

  // A causal query sees what is not behind its own position. Where queries and keys advance by the same stride, and the
  // first key that is not visible becomes so with the next query, each further query sees one more, to the end of a run.
  std::int64_t sure_steps(std::int64_t query) const {
    if (!mask_.causal && mask_.window == 0) return 0;
    const std::int64_t key = at(query).end;
    if (key == key_runs_.num_tokens()) return 0;
    const TokenRun &queries = run_of(query_runs_, query), &keys = run_of(key_runs_, key);
    const std::int64_t query_index = query - queries.local_first, key_index = key - keys.local_first;
    const std::int64_t distance = keys.global_of(key_index) - queries.global_of(query_index);
    if (queries.stride != keys.stride || distance <= 0 || distance > queries.stride) return 0;
    return std::min(queries.count - 1 - query_index, keys.count - key_index);
  }

  static const TokenRun& run_of(const TokenRuns& runs, std::int64_t local) {
    int run = runs.num_runs() - 1;
    while (runs[run].local_first > local) --run;
    return runs[run];
  }

  const AttentionMaskView& mask_;
  const TokenRuns& query_runs_;
  const TokenRuns& key_runs_;
};

// The queries [first, end) see the keys from seen.begin on: up to seen.end the first of them, one more each further one.
bool append_diagonal(AttentionRectangles& rectangles, std::int64_t first, std::int64_t end, const KeyInterval& seen) {
  const std::int64_t blind = std::max<std::int64_t>(0, seen.begin + 1 - seen.end);  // the first queries see nothing
  first += blind;
  if (first >= end) return true;
  const std::int64_t side = end - first, corner = seen.end + blind - 1;  // the square's first key
  if (corner > seen.begin && !rectangles.append({.kind = RectangleKind::Full,
                                                 .query_begin = first,
                                                 .num_queries = side,
                                                 .key_begin = seen.begin,
                                                 .num_keys = corner - seen.begin})) {
    return false;
  }
  return rectangles.append({.kind = side == 1 ? RectangleKind::Full : RectangleKind::Causal,
                            .query_begin = first,
                            .num_queries = side,
                            .key_begin = corner,
                            .num_keys = side});
}

}  // namespace

std::optional<AttentionRectangles> rectangles_of(const AttentionMaskView& mask, const TokenRuns& query_runs,
                                                 const TokenRuns& key_runs) {
  const Staircase staircase(mask, query_runs, key_runs);
  AttentionRectangles rectangles;
  for (std::int64_t query = 0; query < staircase.num_queries();) {
    const KeyInterval seen = staircase.at(query);
    std::int64_t end = staircase.end_of_equal(query);
    bool fits = true;
    if (const std::int64_t diagonal = staircase.end_of_diagonal(query); diagonal > end) {
      end = diagonal;
      fits = append_diagonal(rectangles, query, end, seen);
    } else if (seen.begin < seen.end) {
      fits = rectangles.append({.kind = RectangleKind::Full,
                                .query_begin = query,
                                .num_queries = end - query,
                                .key_begin = seen.begin,
                                .num_keys = seen.end - seen.begin});
    }
    if (!fits) return std::nullopt;
    query = end;
  }
  return rectangles;
}

bool are_cut_by_documents(const AttentionRectangles& rectangles, const AttentionMaskView& mask,
                          const TokenRuns& query_runs, const TokenRuns& key_runs) {
  if (mask.document_offsets == nullptr) return false;
  AttentionMaskView one_document = mask;
  one_document.document_offsets = nullptr;
  one_document.num_documents = 0;
  return rectangles_of(one_document, query_runs, key_runs) != rectangles;
}

}  // namespace rondo::cuda
