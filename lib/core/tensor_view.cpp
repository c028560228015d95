// SPDX-License-Identifier: Apache-2.0
#include "core/tensor_view.hpp"

namespace rondo {

namespace {

std::string location_of(const std::source_location& caller) {
  return std::string(caller.file_name()) + ":" + std::to_string(caller.line());
}

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int axis = 0; axis < shape.rank(); ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  }
  return text + "]";
}

TensorView TensorView::rows(std::int64_t first, std::int64_t count) const {
  ensure(shape.rank() >= 1 && first >= 0 && count >= 0 && first + count <= shape[0], "rows lie inside the view");
  const auto skipped_bytes = static_cast<std::size_t>(first * shape.row_count()) * size_of(dtype);
  TensorView slice{static_cast<std::byte*>(data) + skipped_bytes, dtype, shape};
  slice.shape.set(0, count);
  return slice;
}

TensorView TensorView::reshaped(Shape other) const {
  ensure(other.count() == shape.count(), "a reshape keeps the number of elements");
  return {data, dtype, other};
}

void expect_shape(const TensorView& view, const Shape& expected, std::string_view name, std::source_location caller) {
  if (view.shape == expected && (view.data != nullptr || expected.count() == 0)) return;
  throw Error(ErrorKind::Internal,
              std::string(name) + " must have shape " + to_string(expected) + ", not " + to_string(view.shape),
              location_of(caller));
}

void expect_dtype(const TensorView& view, DType expected, std::string_view name, std::source_location caller) {
  if (view.dtype == expected) return;
  throw Error(
      ErrorKind::Internal,
      std::string(name) + " must be " + std::string(name_of(expected)) + ", not " + std::string(name_of(view.dtype)),
      location_of(caller));
}

}  // namespace rondo
