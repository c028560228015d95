// SPDX-License-Identifier: Apache-2.0
// Matrix products by oneDNN. Primitives are made once per shape; on processors without bf16 units bf16 operands are
// widened block by block and multiplied in fp32, which is several times faster than oneDNN's emulation.
#pragma once

#include <memory>

#include "kernels/cpu/context.hpp"
#include "kernels/matmul.hpp"

namespace rondo::cpu {

class Matmul {
 public:
  /// The workspace is memory of `device` and grows only in the first steps.
  explicit Matmul(Device& device);
  ~Matmul();

  void operator()(const Context& context, Stream& stream, const MatmulArgs& args);
  /// Allocates the workspace of the product without computing it.
  void reserve(const Context& context, const MatmulArgs& args);

 private:
  class Primitives;

  void widened(const Context& context, Stream& stream, const MatmulArgs& args, const MatmulSizes& sizes);

  std::unique_ptr<Primitives> primitives_;
};

}  // namespace rondo::cpu
