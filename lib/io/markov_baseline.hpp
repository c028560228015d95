// SPDX-License-Identifier: Apache-2.0
// How well counting alone predicts the validation part: what a trained model has to beat.
#pragma once

#include <cstdint>
#include <vector>

#include "io/token_corpus.hpp"

namespace rondo {

struct MarkovBaseline {
  int order = 0;              ///< tokens of context
  double nats_per_token = 0;  ///< mean of -log p over the targets of the validation part
  std::int64_t num_targets = 0;
};

/// p(x | context) = (count(context, x) + a) / (count(context) + a V), a = 0.1, counted over the training
/// part. A document's first token is not predicted, as in training; near its start a shorter context stands
/// in for one that would cross into the document before. Ids that are never targets, and tokens that the corpus does not ask for, are context only. Orders
/// 0 to max_order as far as V^(order + 1) counters fit, which is 2^24: order 2 for 256 ids.
std::vector<MarkovBaseline> markov_baselines(const TokenCorpus& corpus, int max_order);

}  // namespace rondo
