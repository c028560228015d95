// SPDX-License-Identifier: Apache-2.0
// Host tensors for tests: made from values, at random or by conversion, and read as double whatever their type.
#pragma once

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <vector>

#include "core/arena.hpp"
#include "core/random.hpp"
#include "core/tensor_view.hpp"

namespace rondo::test {

inline CpuDevice& cpu_device() {
  static CpuDevice device;
  return device;
}

/// The stream and scratch that every operation on a CPU needs besides its tensors.
struct Host {
  std::unique_ptr<Stream> stream = cpu_device().make_stream(StreamRole::Compute);
  Arena scratch{cpu_device(), MemoryUse::Workspace};
};

class Tensor {
 public:
  Tensor() = default;
  /// Filled with zeros.
  Tensor(DType dtype, const Shape& shape) : buffer_(cpu_device(), dtype, shape, MemoryUse::Workspace) {
    std::memset(view().data, 0, view().size_bytes());
  }
  Tensor(DType dtype, const Shape& shape, const std::vector<double>& values) : Tensor(dtype, shape) {
    ensure(static_cast<std::int64_t>(values.size()) == count(), "there is a value for each element");
    for (std::int64_t i = 0; i < count(); ++i) set(i, values[static_cast<std::size_t>(i)]);
  }

  static Tensor filled(DType dtype, const Shape& shape, double value) {
    return {dtype, shape, std::vector<double>(static_cast<std::size_t>(shape.count()), value)};
  }
  /// Normal with standard deviation `deviation`, rounded to the type. The same seed gives the same values in
  /// every type.
  static Tensor random(DType dtype, const Shape& shape, std::uint64_t seed, double deviation = 1) {
    Tensor tensor(dtype, shape);
    const CounterRandom random(seed, stream_of("test"));
    for (std::int64_t i = 0; i < tensor.count(); ++i) {
      tensor.set(i, deviation * random.normal(static_cast<std::uint64_t>(i)));
    }
    return tensor;
  }

  const TensorView& view() const { return buffer_.view(); }
  operator const TensorView&() const { return view(); }  // NOLINT: a test passes tensors to operations
  DType dtype() const { return view().dtype; }
  const Shape& shape() const { return view().shape; }
  std::int64_t count() const { return shape().count(); }

  double operator[](std::int64_t i) const {
    switch (dtype()) {
      case DType::Fp64: return at<double>(i);
      case DType::Fp32: return static_cast<double>(at<float>(i));
      case DType::Bf16: return static_cast<double>(at<bf16>(i));
      case DType::Int32: return at<std::int32_t>(i);
      case DType::Int64: return static_cast<double>(at<std::int64_t>(i));
    }
    return 0;
  }
  void set(std::int64_t i, double value) {
    switch (dtype()) {
      case DType::Fp64: at<double>(i) = value; break;
      case DType::Fp32: at<float>(i) = static_cast<float>(value); break;
      case DType::Bf16: at<bf16>(i) = bf16(static_cast<float>(value)); break;
      case DType::Int32: at<std::int32_t>(i) = static_cast<std::int32_t>(value); break;
      case DType::Int64: at<std::int64_t>(i) = static_cast<std::int64_t>(value); break;
    }
  }
  std::vector<double> values() const {
    std::vector<double> values(static_cast<std::size_t>(count()));
    for (std::int64_t i = 0; i < count(); ++i) values[static_cast<std::size_t>(i)] = (*this)[i];
    return values;
  }
  Tensor converted(DType dtype) const { return {dtype, shape(), values()}; }
  Tensor copy() const { return converted(dtype()); }

 private:
  // Called millions of times with little optimisation, so the type is not checked here.
  template <typename T> T& at(std::int64_t i) const { return static_cast<T*>(view().data)[i]; }

  Buffer buffer_;
};

/// Largest difference between corresponding elements; NaN if any element is NaN. Equal infinities do not differ.
inline double max_difference(const Tensor& a, const Tensor& b) {
  ensure(a.shape() == b.shape(), "tensors that are compared have one shape");
  double largest = 0;
  for (std::int64_t i = 0; i < a.count(); ++i) {
    const double difference = a[i] == b[i] ? 0 : std::abs(a[i] - b[i]);
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
  }
  return largest;
}

inline double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.count(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace rondo::test
