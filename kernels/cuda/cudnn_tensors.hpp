// SPDX-License-Identifier: Apache-2.0
// How the tensors of a block look to cuDNN: four dimensions [1, heads, tokens, head_dim] with strides, so nothing is ever
// copied into another order. Arithmetic only.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.hpp"
#include "kernels/cuda/attention_choice.hpp"

namespace rondo::cuda {

/// One rectangle for cuDNN; plans are cached by it. Backward with grouped heads takes one call for each member of a group,
/// with the heads member, member + N/G, ...: as many as key heads, since only then cuDNN writes d_k and d_v in fp32.
struct CudnnProblem {
  AttentionPass pass = AttentionPass::Forward;
  RectangleKind kind = RectangleKind::Full;
  std::int64_t num_queries = 0, num_keys = 0;
  std::int64_t heads = 1, kv_heads = 1, head_dim = 0;  ///< N, G, D of the whole tensors
  double scale = 1;

  auto operator<=>(const CudnnProblem&) const = default;

  std::int64_t members() const { return heads / kv_heads; }
  /// Query heads of one call.
  std::int64_t call_heads() const { return pass == AttentionPass::Forward ? heads : kv_heads; }
};

/// e.g. "backward causal 4096 x 4096 32/8 heads d 128"
std::string to_string(const CudnnProblem& problem);

/// Also cuDNN's number of the tensor.
enum class CudnnTensor : std::int64_t { Q = 1, K, V, Out, Lse, DOut, DQ, DK, DV };

struct CudnnLayout {
  CudnnTensor tensor;
  DType dtype;
  std::array<std::int64_t, 4> dims;
  std::array<std::int64_t, 4> strides;  // in elements
};

/// Q, K, V, Out, DOut point into tensors of the model; Lse is packed [heads of the call, queries]; forward's Out and
/// backward's DQ, DK, DV are partial results, dense [tokens, heads of the call, D].
CudnnLayout layout_of(const CudnnProblem& problem, CudnnTensor tensor);

/// Elements from the start of a [T, heads, D] tensor to row `row`, head `head`: where cuDNN's tensor begins.
constexpr std::int64_t first_element(std::int64_t row, std::int64_t head, std::int64_t heads, std::int64_t head_dim) {
  return (row * heads + head) * head_dim;
}

}  // namespace rondo::cuda
