// SPDX-License-Identifier: Apache-2.0
// A non-owning, contiguous, row-major array of up to four dimensions on some device, and the shape checks of the kernels.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace rondo {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) {
    ensure(dims.size() <= kMaxRank, "a shape has at most four dimensions");
    for (std::int64_t dim : dims) dims_[static_cast<std::size_t>(rank_++)] = dim;
  }

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  void set(int axis, std::int64_t extent) { dims_[static_cast<std::size_t>(axis)] = extent; }
  std::int64_t count() const {
    std::int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
    return product;
  }
  /// Elements per index of the first dimension.
  std::int64_t row_count() const {
    std::int64_t product = 1;
    for (int axis = 1; axis < rank_; ++axis) product *= (*this)[axis];
    return product;
  }
  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// e.g. "[4, 2, 64]"
std::string to_string(const Shape& shape);

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::Fp32;
  Shape shape;

  std::int64_t count() const { return data == nullptr ? 0 : shape.count(); }
  std::size_t size_bytes() const { return static_cast<std::size_t>(count()) * size_of(dtype); }
  explicit operator bool() const { return data != nullptr; }

  /// @pre T is the element type
  template <typename T> T* as() const {
    ensure(dtype_of<T> == dtype, "the view has the element type that it is read as");
    return static_cast<T*>(data);
  }
  template <typename T> std::span<T> span() const { return {as<T>(), static_cast<std::size_t>(count())}; }

  /// The rows [first, first + count) of the first dimension.
  TensorView rows(std::int64_t first, std::int64_t count) const;
  /// The same elements under another shape. @pre equal element counts
  TensorView reshaped(Shape other) const;
};

/// Throws an error that names the caller's line if a kernel argument does not have its documented shape or type.
void expect_shape(const TensorView& view, const Shape& expected, std::string_view name,
                  std::source_location caller = std::source_location::current());
void expect_dtype(const TensorView& view, DType expected, std::string_view name,
                  std::source_location caller = std::source_location::current());

}  // namespace rondo
