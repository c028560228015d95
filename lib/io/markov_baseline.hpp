// SPDX-License-Identifier: Apache-2.0
// How well n-gram counts predict the validation split: a baseline for trained models.
#pragma once

#include <cstdint>
#include <vector>

#include "io/token_corpus.hpp"

namespace rondo {

struct MarkovBaseline {
  int order = 0;              ///< tokens of context
  double nats_per_token = 0;  ///< mean of -log p over the targets of the validation split
  std::int64_t num_targets = 0;
};

/// p(x | context) = (count(context, x) + a) / (count(context) + a V), a = 0.1, counted over the training split. A document's
/// first token is not predicted, as in training; near its start a shorter context replaces one that would reach into the
/// previous document. Tokens that are not targets serve as context only. Computes orders 0 to max_order while V^(order + 1) is
/// at most 2^24: order 2 for 256 ids.
std::vector<MarkovBaseline> markov_baselines(const TokenCorpus& corpus, int max_order);

}  // namespace rondo
