// SPDX-License-Identifier: Apache-2.0
// Helpers for the loops of the reference backend: vector products, and the pacing of the progress hook.
#pragma once

#include <cstdint>

#include "core/device.hpp"
#include "core/dtype.hpp"
#include "core/error.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::reference {

/// As with_storage_type, for tensors in fp64 or fp32 only.
template <typename Body> void with_master_type(DType type, Body&& body) {
  if (type == DType::Fp64) return body.template operator()<double>();
  ensure(type == DType::Fp32, "the element type is fp64 or fp32");
  body.template operator()<float>();
}

/// Sum of x[i] * y[i] as four interleaved sums, in Sum.
template <typename Sum, typename X, typename Y> Sum dot(const X* x, const Y* y, std::int64_t count) {
  Sum sums[4] = {0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int lane = 0; lane < 4; ++lane) {
      sums[lane] += static_cast<Sum>(x[i + lane]) * static_cast<Sum>(y[i + lane]);
    }
  }
  for (; i < count; ++i) sums[0] += static_cast<Sum>(x[i]) * static_cast<Sum>(y[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// y += factor * x
template <typename Sum, typename X> void add_scaled(Sum* y, Sum factor, const X* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += factor * static_cast<Sum>(x[i]);
}

/// Calls the stream's progress hook about every 50 us of multiply-adds.
class Pace {
 public:
  explicit Pace(const Stream& stream) : stream_(stream) {}

  void advance(std::int64_t multiply_adds) {
    done_ += multiply_adds;
    if (done_ < kInterval) return;
    done_ = 0;
    stream_.progress();
  }

 private:
  static constexpr std::int64_t kInterval = 32768;

  const Stream& stream_;
  std::int64_t done_ = 0;
};

}  // namespace rondo::reference
