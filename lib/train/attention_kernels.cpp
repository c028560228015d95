// SPDX-License-Identifier: Apache-2.0
#include "train/attention_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "model/memory_chain.hpp"
#include "model/shape_of.hpp"
#include "model/span.hpp"

namespace rondo {

namespace {

/// Asks the backend about the blocks of one rank. Nothing is computed: tensors only need an address.
class Questions {
 public:
  Questions(Execution& execution, const TransformerShape& shape, DType compute)
      : execution_(execution), shape_(shape), compute_(compute) {}

  void ask_about(const Span& span) {
    bool is_any_exact = false, has_any_memory = false;
    for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
      (shape_.has_memory(layer) ? has_any_memory : is_any_exact) = true;
    }
    if (has_any_memory) {
      const AttentionMask::Rule segments = shape_.segments.mask_rule();
      ask_about(span.runs(), span.plan<MemoryChain>(segments).keys(), span.mask(segments));
    }
    if (!is_any_exact) return;
    for (const Hop& hop : span.schedule().hops()) {
      if (hop.work) ask_about(span.runs(), span.layout().runs(hop.shard), span.mask());
    }
  }
  const std::set<std::string>& answers() const { return answers_; }

 private:
  void ask_about(const TokenRuns& query_runs, const TokenRuns& key_runs, const AttentionMaskView& mask) {
    const std::int64_t T = query_runs.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
    const DType accumulator = accumulator_of(compute_);
    std::byte nowhere{};
    const auto tensor = [&](DType dtype, const Shape& shape) { return TensorView{&nowhere, dtype, shape}; };
    const TensorView keys = tensor(compute_, {key_runs.num_tokens(), G, D});
    const BlockAttentionForwardArgs block{.q = tensor(compute_, {T, N, D}),
                                          .k = keys,
                                          .v = keys,
                                          .query_runs = query_runs,
                                          .key_runs = key_runs,
                                          .mask = mask,
                                          .scale = 1.0 / std::sqrt(static_cast<double>(D)),
                                          .carry = {tensor(accumulator, {T, N, D}), tensor(accumulator, {N, T})},
                                          .scratch = execution_.scratch};
    for (std::string& line : execution_.backend.attention_kernels(block)) answers_.insert(std::move(line));
  }

  Execution& execution_;
  const TransformerShape shape_;
  const DType compute_;
  std::set<std::string> answers_;
};

}  // namespace

std::vector<std::int64_t> densest_documents(std::span<const std::int64_t> offsets, std::int64_t sequence_tokens) {
  std::size_t most = 0, first_of_most = 0;
  for (std::size_t first = 0, end = 0; first + 1 < offsets.size(); ++first) {
    while (end + 1 < offsets.size() && offsets[end] < offsets[first] + sequence_tokens) ++end;
    if (end - first < most) continue;
    most = end - first;
    first_of_most = first;
  }
  // The document before them ends in the sequence too, at no border of a layout.
  const std::int64_t begin = offsets[first_of_most];
  const std::int64_t room = (begin + sequence_tokens - offsets[first_of_most + most - 1]) / 3;
  const std::int64_t before = first_of_most == 0 ? 0 : std::min(room, begin - offsets[first_of_most - 1]);
  std::vector<std::int64_t> documents{0};
  for (std::size_t i = before == 0 ? 1 : 0; i < most; ++i) {
    documents.push_back(before + offsets[first_of_most + i] - begin);
  }
  documents.push_back(sequence_tokens);
  return documents;
}

std::vector<std::string> choose_attention_kernels(Runtime& runtime, const RunConfig& config,
                                                  std::span<const std::int64_t> documents) {
  Execution& execution = runtime.execution();
  const int rank = execution.ring.rank();
  const SequenceLayout layout(config.data.sequence_length, execution.ring.size(), *config.parallel.layout);
  const AttentionMask::Rule rule = mask_rule_of(config.model);
  Questions questions(execution, shape_of(config), dtype_of_compute(config.precision.compute));
  agree_on(runtime.world(), [&] {
    questions.ask_about(Span(layout, rule, rank));
    if (documents.size() > 2) questions.ask_about(Span(layout, rule, rank, documents));
  });
  std::string text;
  for (const std::string& line : questions.answers()) text += line + '\n';
  std::set<std::string> of_all;
  for (const std::string& of_rank : runtime.world().all_gather(text)) {
    std::istringstream lines(of_rank);
    for (std::string line; std::getline(lines, line);) of_all.insert(line);
  }
  return {of_all.begin(), of_all.end()};
}

}  // namespace rondo
