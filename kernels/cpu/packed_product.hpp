// SPDX-License-Identifier: Apache-2.0
// The baseline of the benchmarks: a square product with weights packed in advance in the format that oneDNN prefers, in the
// type itself, without the widening of the backend's product on processors without bf16 units.
#pragma once

#include <cstdint>
#include <memory>

#include "core/dtype.hpp"

namespace rondo::cpu {

class PackedSquareProduct {
 public:
  /// c = a b, all [size, size] of one type, filled with numbers that keep sums finite.
  /// @returns null where oneDNN has no product of this type for the processor: none in bf16 without AVX-512
  static std::unique_ptr<PackedSquareProduct> make(DType dtype, std::int64_t size, int threads);
  ~PackedSquareProduct();

  /// One product; done on return.
  void run();
  /// The implementation that oneDNN chose.
  const char* implementation() const;

 private:
  struct State;
  explicit PackedSquareProduct(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace rondo::cpu
