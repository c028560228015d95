// SPDX-License-Identifier: Apache-2.0
#include "core/random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <thread>
#include <vector>

#include "core/error.hpp"

namespace rondo {

namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53U, kMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U, kWeyl1 = 0xBB67AE85U;
constexpr int kRounds = 10;
constexpr int kFeistelRounds = 6;

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

// Starting a thread pays off only for some milliseconds of work.
constexpr std::size_t kLeastDrawsOfAThread = 1 << 15;

template <typename T>
void fill_in_parallel(std::span<T> values, const CounterRandom& random, double deviation, int threads) {
  const auto draw = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) values[i] = static_cast<T>(deviation * random.normal(i));
  };
  const std::size_t most = values.size() / kLeastDrawsOfAThread + 1;
  const std::size_t parts = std::clamp<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), 1, most);
  const auto bound = [&](std::size_t part) {
    return values.size() / parts * part + std::min(part, values.size() % parts);
  };
  std::vector<std::jthread> others;
  for (std::size_t part = 1; part < parts; ++part) others.emplace_back(draw, bound(part), bound(part + 1));
  draw(0, bound(1));
}

}  // namespace

std::array<std::uint32_t, 4> CounterRandom::block(std::uint64_t index) const {
  std::array<std::uint32_t, 4> c{low(index), high(index), low(stream_), high(stream_)};
  std::uint32_t key0 = low(seed_), key1 = high(seed_);
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * c[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * c[2];
    c = {high(product1) ^ c[1] ^ key0, low(product1), high(product0) ^ c[3] ^ key1, low(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return c;
}

std::uint64_t CounterRandom::bits(std::uint64_t index) const {
  const auto b = block(index);
  return (std::uint64_t{b[1]} << 32) | b[0];
}

double CounterRandom::uniform(std::uint64_t index) const { return static_cast<double>(bits(index) >> 11) * 0x1.0p-53; }

double CounterRandom::normal(std::uint64_t index) const {
  const auto b = block(index);
  const std::uint64_t first = (std::uint64_t{b[1]} << 32) | b[0];
  const std::uint64_t second = (std::uint64_t{b[3]} << 32) | b[2];
  const double u = (static_cast<double>(first >> 11) + 1.0) * 0x1.0p-53;  // (0, 1]: the logarithm is finite
  const double v = static_cast<double>(second >> 11) * 0x1.0p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

void fill_normal(std::span<double> values, const CounterRandom& random, double deviation, int threads) {
  fill_in_parallel(values, random, deviation, threads);
}
void fill_normal(std::span<float> values, const CounterRandom& random, double deviation, int threads) {
  fill_in_parallel(values, random, deviation, threads);
}

std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

RandomPermutation::RandomPermutation(std::uint64_t size, std::uint64_t seed, std::uint64_t stream)
    : size_(size), half_bits_((static_cast<unsigned>(std::bit_width(size | 1)) + 1) / 2), random_(seed, stream) {
  ensure(size > 0, "a permutation has at least one element");
}

std::uint64_t RandomPermutation::operator()(std::uint64_t index) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {  // walk the cycle until it is back inside [0, size)
    std::uint64_t left = index >> half_bits_, right = index & mask;
    for (std::uint64_t round = 0; round < kFeistelRounds; ++round) {
      const std::uint64_t next = left ^ (random_.bits((round << 40) | right) & mask);
      left = right;
      right = next;
    }
    index = (left << half_bits_) | right;
  } while (index >= size_);
  return index;
}

}  // namespace rondo
