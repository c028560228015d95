// SPDX-License-Identifier: Apache-2.0
// CUDA's device functions, as far as our kernels use them: barriers, warp functions, atomics, arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <math.h>  // exp(float) and the like without std::

#include "tests/support/cuda_emulation/emulation.hpp"

using std::max;
using std::min;

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  rondo::emulation::meet_block("__syncthreads", false, where);
}
inline int __syncthreads_count(int vote, const std::source_location& where = std::source_location::current()) {
  return rondo::emulation::meet_block("__syncthreads_count", vote != 0, where).count;
}
inline int __syncthreads_or(int vote, const std::source_location& where = std::source_location::current()) {
  return rondo::emulation::meet_block("__syncthreads_or", vote != 0, where).count > 0 ? 1 : 0;
}
inline int __syncthreads_and(int vote, const std::source_location& where = std::source_location::current()) {
  const auto votes = rondo::emulation::meet_block("__syncthreads_and", vote != 0, where);
  return votes.count == votes.threads ? 1 : 0;
}

inline void __syncwarp(unsigned mask = rondo::emulation::kAllLanes,
                       const std::source_location& where = std::source_location::current()) {
  int nothing = 0;
  rondo::emulation::warp_exchange(
      "__syncwarp", mask, nothing, [](auto&) {}, where);
}

namespace rondo::emulation {

/// Every lane receives the value of its source lane. Reading a lane outside of the mask gives NaN, or -1.
template <typename T>
T shuffle(const char* function, unsigned mask, T value, int source, const std::source_location& where) {
  struct Operands {
    T value, received;
    int source;
  } mine{value, value, source};
  warp_exchange(
      function, mask, mine,
      [](auto& lanes) {
        for (auto* lane : lanes) {
          if (lane == nullptr) continue;
          const auto* from = lanes[static_cast<std::size_t>(lane->source)];
          if (from == nullptr) {
            std::memset(static_cast<void*>(&lane->received), 0xff, sizeof(T));
          } else {
            lane->received = from->value;
          }
        }
      },
      where);
  return mine.received;
}

}  // namespace rondo::emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              const std::source_location& where = std::source_location::current()) {
  const int first = rondo::emulation::lane_index() / width * width;
  return rondo::emulation::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  const std::source_location& where = std::source_location::current()) {
  const int lane = rondo::emulation::lane_index(), source = lane ^ bits;
  return rondo::emulation::shuffle("__shfl_xor_sync", mask, value, source / width == lane / width ? source : lane,
                                   where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32,
                 const std::source_location& where = std::source_location::current()) {
  const int lane = rondo::emulation::lane_index(), source = lane - static_cast<int>(distance);
  return rondo::emulation::shuffle("__shfl_up_sync", mask, value, source >= lane / width * width ? source : lane,
                                   where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32,
                   const std::source_location& where = std::source_location::current()) {
  const int lane = rondo::emulation::lane_index(), source = lane + static_cast<int>(distance);
  return rondo::emulation::shuffle("__shfl_down_sync", mask, value, source / width == lane / width ? source : lane,
                                   where);
}

inline unsigned __ballot_sync(unsigned mask, int vote,
                              const std::source_location& where = std::source_location::current()) {
  struct Operands {
    bool vote;
    unsigned votes;
  } mine{vote != 0, 0};
  rondo::emulation::warp_exchange(
      "__ballot_sync", mask, mine,
      [](auto& lanes) {
        unsigned votes = 0;
        for (std::size_t i = 0; i < 32; ++i) votes |= lanes[i] != nullptr && lanes[i]->vote ? 1U << i : 0U;
        for (auto* lane : lanes) {
          if (lane != nullptr) lane->votes = votes;
        }
      },
      where);
  return mine.votes;
}
inline int __any_sync(unsigned mask, int vote, const std::source_location& where = std::source_location::current()) {
  return __ballot_sync(mask, vote, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int vote, const std::source_location& where = std::source_location::current()) {
  return __ballot_sync(mask, vote, where) == mask ? 1 : 0;
}

template <typename T> T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
inline void __threadfence() {}

inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) { return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1; }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
template <typename T> T __ldg(const T* address) { return *address; }

inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
/// Rounded to nearest and never part of a fused multiply-add, which the compiler may form from all other products and sums.
template <typename T> T never_fused(T value) {
  volatile T alone = value;
  return alone;
}
inline float __fmul_rn(float a, float b) { return never_fused(a * b); }
inline float __fadd_rn(float a, float b) { return never_fused(a + b); }
inline double __dmul_rn(double a, double b) { return never_fused(a * b); }
inline double __dadd_rn(double a, double b) { return never_fused(a + b); }
/// Rounded towards zero.
inline float __double2float_rz(double value) {
  const auto nearest = static_cast<float>(value);
  return std::fabs(static_cast<double>(nearest)) > std::fabs(value) ? std::nextafter(nearest, 0.0F) : nearest;
}
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
