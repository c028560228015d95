// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention_rows.hpp"

#include <limits>

namespace rondo::cpu {

VisibleKeys::Memory VisibleKeys::take(const TokenRuns& query_runs, const TokenRuns& key_runs, Arena& scratch) {
  const auto bytes = static_cast<std::size_t>(query_runs.num_tokens() * key_runs.num_runs()) * sizeof(std::int32_t);
  auto* begin = static_cast<std::int32_t*>(scratch.take(bytes));
  return {begin, static_cast<std::int32_t*>(scratch.take(bytes))};
}

VisibleKeys::VisibleKeys(const TokenRuns& query_runs, const TokenRuns& key_runs, const AttentionMaskView& mask,
                         Memory memory)
    : num_tokens_(query_runs.num_tokens()), begin_(memory.begin), end_(memory.end) {
  ensure(key_runs.num_tokens() < std::numeric_limits<std::int32_t>::max(), "local keys are counted in 32 bits");
  for (const TokenRun& queries : query_runs) {
    for (std::int64_t i = 0; i < queries.count; ++i) {
      const KeyInterval seen = mask.keys_of(queries.global_of(i));
      for (int run = 0; run < key_runs.num_runs(); ++run) {
        const TokenRun& keys = key_runs[run];
        const KeyInterval inside = clip_to_run(seen, keys);
        const std::int64_t at = run * num_tokens_ + queries.local_first + i;
        begin_[at] = static_cast<std::int32_t>(keys.local_first + inside.begin);
        end_[at] = static_cast<std::int32_t>(keys.local_first + inside.end);
      }
    }
  }
}

void LaneKeys::fill(const VisibleKeys& visible, int run, const RowTiling& tiling, const RowTile& tile,
                    std::int64_t group) {
  tiling.for_each(tile, group, [&](int lane, std::int64_t token, std::int64_t) {
    begin[lane] = visible.begin(run, token);
    end[lane] = visible.end(run, token);
  });
  for (int lane = tile.count; lane < kMaxQueryTile; ++lane) begin[lane] = end[lane] = 0;
}

}  // namespace rondo::cpu
