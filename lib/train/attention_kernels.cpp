// SPDX-License-Identifier: Apache-2.0
#include "train/attention_kernels.hpp"

#include <cmath>
#include <set>
#include <sstream>

#include "model/shape_of.hpp"
#include "model/span.hpp"

namespace rondo {

namespace {

/// What the backend says of every block that this rank computes. Nothing is computed: tensors only need an address.
void ask_about_blocks(Execution& e, const Span& span, const TransformerShape& s, DType compute,
                      std::set<std::string>& lines) {
  const std::int64_t T = span.num_tokens(), N = s.heads, G = s.kv_heads, D = s.head_dim;
  const DType accumulator = accumulator_of(compute);
  std::byte nowhere{};
  const auto tensor = [&](DType dtype, const Shape& shape) { return TensorView{&nowhere, dtype, shape}; };
  for (const Hop& hop : span.schedule().hops()) {
    if (!hop.work) continue;
    const TokenRuns key_runs = span.layout().runs(hop.share);
    const TensorView share = tensor(compute, {key_runs.num_tokens(), G, D});
    const BlockAttentionForwardArgs block{.q = tensor(compute, {T, N, D}),
                                          .k = share,
                                          .v = share,
                                          .query_runs = span.runs(),
                                          .key_runs = key_runs,
                                          .mask = span.mask(),
                                          .scale = 1.0 / std::sqrt(static_cast<double>(D)),
                                          .carry = {tensor(accumulator, {T, N, D}), tensor(accumulator, {N, T})},
                                          .scratch = e.scratch};
    for (std::string& line : e.backend.attention_kernels(block)) {
      lines.insert(std::move(line));
    }
  }
}

}  // namespace

std::vector<std::string> choose_attention_kernels(Runtime& runtime, const RunConfig& config, bool has_documents) {
  Execution& execution = runtime.execution();
  const std::int64_t tokens = config.data.sequence_length;
  const SequenceLayout layout(tokens, execution.ring.size(), *config.parallel.layout);
  const AttentionMask::Rule rule{.causal = true, .window = config.model.window};
  const DType compute = dtype_of_compute(config.precision.compute);
  // A border that no layout has its own borders at.
  const std::vector<std::int64_t> documents{0, tokens / 3 + 1, tokens};
  std::set<std::string> mine;
  agree_on(runtime.world(), [&] {
    const TransformerShape shape = shape_of(config);
    ask_about_blocks(execution, Span(layout, rule, execution.ring.rank()), shape, compute, mine);
    if (!has_documents || tokens < 3) return;
    ask_about_blocks(execution, Span(layout, rule, execution.ring.rank(), documents), shape, compute, mine);
  });
  std::string text;
  for (const std::string& line : mine) text += line + '\n';
  std::set<std::string> of_all;
  for (const std::string& of_rank : runtime.world().all_gather(text)) {
    std::istringstream lines(of_rank);
    for (std::string line; std::getline(lines, line);) of_all.insert(line);
  }
  return {of_all.begin(), of_all.end()};
}

}  // namespace rondo
