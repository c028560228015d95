// SPDX-License-Identifier: Apache-2.0
// Splits packed qkv with RoPE. Sines and cosines come from two fp64 tables combined by the angle addition formulas, so that a
// position costs four multiplications per pair and no table grows with the sequence.
#pragma once

#include <map>
#include <vector>

#include "kernels/cpu/context.hpp"
#include "kernels/rope.hpp"

namespace rondo::cpu {

/// cos and sin of (i stride) frequency for 0 <= i < kTokens, as [kTokens, half].
struct TurnTable {
  static constexpr int kTokens = 32;
  std::vector<double> cosines, sines;
};

class Rope {
 public:
  void split_forward(const Context& context, Stream& stream, const QkvSplitForwardArgs& args);
  void split_backward(const Context& context, Stream& stream, const QkvSplitBackwardArgs& args);

 private:
  const TurnTable& table(const std::vector<double>& inverse_frequencies, std::int64_t stride);

  std::vector<double> inverse_frequencies_;   // of the tables
  std::map<std::int64_t, TurnTable> tables_;  // by stride
};

}  // namespace rondo::cpu
