// SPDX-License-Identifier: Apache-2.0
#include "infer/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace rondo {

namespace {

struct Candidate {
  std::int32_t id;
  double weight;  // probability, not normalised
};

bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

std::size_t index_of_largest(std::span<const double> logits) {
  std::size_t largest = 0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id]) || logits[id] == std::numeric_limits<double>::infinity()) {
      throw NonFiniteError("the logit of token " + std::to_string(id) + " is not a number or infinite", "",
                           "the model's weights are damaged: check the run that made them");
    }
    if (logits[id] > logits[largest]) largest = id;
  }
  if (logits.empty() || std::isinf(logits[largest])) throw NonFiniteError("no token is possible");
  return largest;
}

double sum_of_weights(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  return sum;
}

void keep_top_k(std::vector<Candidate>& candidates, std::int64_t top_k) {
  const auto kept = std::min(static_cast<std::size_t>(top_k), candidates.size());
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(kept) - 1, candidates.end(),
                   is_likelier);
  candidates.resize(kept);
}

void keep_top_p(std::vector<Candidate>& candidates, double top_p) {
  std::ranges::sort(candidates, is_likelier);
  const double needed = top_p * sum_of_weights(candidates);
  double sum = 0;
  std::size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || sum < needed)) sum += candidates[kept++].weight;
  candidates.resize(kept);
}

}  // namespace

void check(const SamplingRule& rule) {
  if (!(rule.temperature >= 0) || std::isinf(rule.temperature)) {
    throw ConfigError("the temperature must be a number from 0 on, not " + std::to_string(rule.temperature),
                      "--temperature", "0 is greedy, 1 is the model's own distribution");
  }
  if (rule.top_k < 0) {
    throw ConfigError("top-k must be 0 (all) or more, not " + std::to_string(rule.top_k), "--top-k");
  }
  if (!(rule.top_p > 0 && rule.top_p <= 1)) {
    throw ConfigError("top-p must be above 0 and at most 1, not " + std::to_string(rule.top_p), "--top-p");
  }
}

std::int32_t sample_token(std::span<const double> logits, const SamplingRule& rule, double uniform) {
  const std::size_t largest = index_of_largest(logits);
  if (rule.temperature == 0) return static_cast<std::int32_t>(largest);
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double weight = std::exp((logits[id] - logits[largest]) / rule.temperature);
    if (weight > 0) candidates.push_back({static_cast<std::int32_t>(id), weight});
  }
  if (rule.top_k > 0) keep_top_k(candidates, rule.top_k);
  if (rule.top_p < 1) keep_top_p(candidates, rule.top_p);
  std::ranges::sort(candidates, {}, &Candidate::id);

  const double chosen = uniform * sum_of_weights(candidates);
  double sum = 0;
  for (const Candidate& candidate : candidates) {
    sum += candidate.weight;
    if (chosen < sum) return candidate.id;
  }
  return candidates.back().id;  // the sum was rounded down to `chosen`
}

}  // namespace rondo
