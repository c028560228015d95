// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_tensors.hpp"

#include "core/error.hpp"

namespace rondo::cuda {

namespace {

/// `heads` heads of a row-major [tokens, row_heads, D] tensor, `head_step` apart.
CudnnLayout heads_of(CudnnTensor tensor, DType dtype, std::int64_t heads, std::int64_t tokens, std::int64_t head_dim,
                     std::int64_t row_heads, std::int64_t head_step) {
  const std::int64_t row = row_heads * head_dim;
  return {.tensor = tensor,
          .dtype = dtype,
          .dims = {1, heads, tokens, head_dim},
          .strides = {tokens * row, head_step * head_dim, row, 1}};
}

}  // namespace

CudnnLayout layout_of(const CudnnProblem& problem, CudnnTensor tensor) {
  const std::int64_t queries = problem.num_queries, keys = problem.num_keys, dim = problem.head_dim;
  const std::int64_t heads = problem.call_heads(), kv_heads = problem.kv_heads;
  const std::int64_t step = problem.heads / heads;  // 1 forward, N/G backward
  const auto of_queries = [&](DType dtype) {
    return heads_of(tensor, dtype, heads, queries, dim, problem.heads, step);
  };
  switch (tensor) {
    case CudnnTensor::Q:
    case CudnnTensor::DOut: return of_queries(DType::Bf16);
    case CudnnTensor::Out: return of_queries(DType::Fp32);
    case CudnnTensor::K:
    case CudnnTensor::V: return heads_of(tensor, DType::Bf16, kv_heads, keys, dim, kv_heads, 1);
    case CudnnTensor::DQ: return heads_of(tensor, DType::Fp32, heads, queries, dim, heads, 1);
    case CudnnTensor::DK:
    case CudnnTensor::DV: return heads_of(tensor, DType::Fp32, heads, keys, dim, heads, 1);
    case CudnnTensor::Lse:
      return {.tensor = tensor,
              .dtype = DType::Fp32,
              .dims = {1, heads, queries, 1},
              .strides = {heads * queries, queries, 1, 1}};
  }
  ensure(false, "cuDNN's tensor is one of the list");
  return {};
}

std::string to_string(const CudnnProblem& problem) {
  return std::string(problem.pass == AttentionPass::Forward ? "forward " : "backward ") +
         (problem.kind == RectangleKind::Causal ? "causal " : "full ") + std::to_string(problem.num_queries) + " x " +
         std::to_string(problem.num_keys) + " " + std::to_string(problem.heads) + "/" +
         std::to_string(problem.kv_heads) + " heads d " + std::to_string(problem.head_dim);
}

}  // namespace rondo::cuda
