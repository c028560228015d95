// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). A value depends only on (seed, stream, index),
// never on the rank or on what was drawn before.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace rondo {

class CounterRandom {
 public:
  /// @param stream what the numbers are for; stream_of("name") makes one from a name
  CounterRandom(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  std::array<std::uint32_t, 4> block(std::uint64_t index) const;
  std::uint64_t bits(std::uint64_t index) const;
  /// In [0, 1), 53 bits.
  double uniform(std::uint64_t index) const;
  /// Standard normal (Box-Muller on one block).
  double normal(std::uint64_t index) const;

 private:
  std::uint64_t seed_, stream_;
};

/// values[i] = deviation * random.normal(i), drawn by at most `threads` threads. Bitwise the same for any number of threads.
void fill_normal(std::span<double> values, const CounterRandom& random, double deviation, int threads);
/// As above, with each value rounded to fp32.
void fill_normal(std::span<float> values, const CounterRandom& random, double deviation, int threads);

std::uint64_t stream_of(std::string_view name);

/// A permutation of [0, size) in constant memory, keyed by (seed, stream): a Feistel network with cycle walking.
class RandomPermutation {
 public:
  RandomPermutation(std::uint64_t size, std::uint64_t seed, std::uint64_t stream);
  /// @pre index < size
  std::uint64_t operator()(std::uint64_t index) const;

 private:
  std::uint64_t size_;
  unsigned half_bits_;
  CounterRandom random_;
};

}  // namespace rondo
