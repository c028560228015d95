// SPDX-License-Identifier: Apache-2.0
// Dispatch from an element type known at run time to a template parameter.
#pragma once

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace rondo {

/// Calls body.operator()<T>() with the floating-point element type that `type` names.
template <typename Body> void with_storage_type(DType type, Body&& body) {
  switch (type) {
    case DType::Fp64: return body.template operator()<double>();
    case DType::Fp32: return body.template operator()<float>();
    case DType::Bf16: return body.template operator()<bf16>();
    case DType::Int32:
    case DType::Int64: break;
  }
  ensure(false, "the element type is a floating-point type");
}

}  // namespace rondo
