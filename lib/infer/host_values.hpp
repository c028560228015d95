// SPDX-License-Identifier: Apache-2.0
// Copies losses and logits from the device to doubles on the host.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "runtime/execution.hpp"

namespace rondo {

class HostValues {
 public:
  HostValues(DType dtype, std::int64_t capacity) : values_(static_cast<std::size_t>(capacity)) {
    if (dtype == DType::Fp32) narrow_.resize(values_.size());
  }

  /// Waits for the compute stream. The values are valid until the next call.
  /// @pre `from` has the constructor's type, fp32 or fp64, and at most `capacity` elements
  std::span<double> fetch(const Execution& execution, const TensorView& from) {
    const bool is_narrow = from.dtype == DType::Fp32;
    const auto count = static_cast<std::size_t>(from.count());
    ensure(count <= values_.size() && is_narrow == !narrow_.empty(), "the values fit");
    void* to = is_narrow ? static_cast<void*>(narrow_.data()) : values_.data();
    execution.device.copy(execution.compute, to, from.data, from.size_bytes());
    execution.device.synchronize(execution.compute);
    if (is_narrow) std::copy_n(narrow_.begin(), count, values_.begin());
    return std::span(values_).first(count);
  }

 private:
  std::vector<float> narrow_;  // empty for fp64
  std::vector<double> values_;
};

}  // namespace rondo
