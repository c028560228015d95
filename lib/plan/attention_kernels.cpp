// SPDX-License-Identifier: Apache-2.0
#include "plan/attention_kernels.hpp"

#include <algorithm>
#include <set>
#include <sstream>

#include "plan/dry_run.hpp"

namespace rondo {

namespace {

/// The configuration with each kind of layer once: further layers have the same blocks.
RunConfig with_one_layer_of_each_kind(RunConfig config) {
  config.model.layers = std::min(config.model.layers, static_cast<std::int64_t>(config.model.attention.size()));
  return config;
}

}  // namespace

std::vector<std::int64_t> densest_documents(std::span<const std::int64_t> offsets, std::int64_t sequence_tokens) {
  std::size_t most = 0, first_of_most = 0;
  for (std::size_t first = 0, end = 0; first + 1 < offsets.size(); ++first) {
    while (end + 1 < offsets.size() && offsets[end] < offsets[first] + sequence_tokens) ++end;
    if (end - first < most) continue;
    most = end - first;
    first_of_most = first;
  }
  // The end of the previous document is in the sequence too, at a place that is no shard boundary of a layout.
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
  std::set<std::string> answers;
  const auto ask = [&](const BlockAttentionForwardArgs& block) {
    for (std::string& line : runtime.execution().backend.attention_kernels(block)) answers.insert(std::move(line));
  };
  const RunConfig layers = with_one_layer_of_each_kind(config);
  DryRunInput step{.world_size = runtime.world().size(), .rank = runtime.world().rank(), .on_attention = ask};
  agree_on(runtime.world(), [&] {
    dry_run(layers, step);
    step.documents = documents;
    if (documents.size() > 2) dry_run(layers, step);
  });
  std::string text;
  for (const std::string& line : answers) text += line + '\n';
  std::set<std::string> of_all;
  for (const std::string& of_rank : runtime.world().all_gather(text)) {
    std::istringstream lines(of_rank);
    for (std::string line; std::getline(lines, line);) of_all.insert(line);
  }
  return {of_all.begin(), of_all.end()};
}

}  // namespace rondo
