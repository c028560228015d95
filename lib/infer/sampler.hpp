// SPDX-License-Identifier: Apache-2.0
// Samples the next token from logits: a pure function of logits, rule and a random number that the caller provides, so that a
// seed reproduces a text.
#pragma once

#include <cstdint>
#include <span>

namespace rondo {

struct SamplingRule {
  double temperature = 1.0;  ///< 0: greedy
  std::int64_t top_k = 0;    ///< 0: all
  double top_p = 1.0;        ///< 1: all
};

/// Throws ConfigError unless 0 <= temperature, 0 <= top_k and 0 < top_p <= 1.
void check(const SamplingRule& rule);

/// The token that a uniform number in [0, 1) chooses:
///   temperature  0 takes the largest logit, the lowest id among equal ones, and ignores the rest;
///                otherwise p = softmax(logits / temperature);
///   top_k        keeps the k most probable ids, lower ids first among equally probable ones, and renormalises p;
///   top_p        keeps the shortest prefix of these, in the same order, whose p sum to at least top_p: at least one id.
/// The kept ids then divide [0, 1) in order of id, in proportion to p, and the id whose part holds `uniform` is taken.
/// A logit of -inf is never taken. Throws NonFiniteError when a logit is NaN or +inf, or all are -inf.
std::int32_t sample_token(std::span<const double> logits, const SamplingRule& rule, double uniform);

}  // namespace rondo
