// SPDX-License-Identifier: Apache-2.0
// Block attention of the CUDA backend: chooses cuDNN or our fused kernel for each block, and remembers what it chose.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/backend_options.hpp"
#include "kernels/cuda/attention_choice.hpp"
#include "kernels/cuda/cudnn_attention.hpp"

namespace rondo::cuda {

class BlockAttention {
 public:
  explicit BlockAttention(const BackendOptions& options);

  /// As the operations of the backend.
  void forward(Stream& stream, const BlockAttentionForwardArgs& args);
  void backward(Stream& stream, const BlockAttentionBackwardArgs& args);

  /// As Backend::attention_kernels.
  std::vector<std::string> kernels_of(const BlockAttentionForwardArgs& block);
  /// What was chosen so far, e.g. "attention forward by cudnn: the table, ..."; each is logged once, too.
  const std::set<std::string>& decisions() const { return decisions_; }

 private:
  /// @returns whether cuDNN computes the block. What it refuses to plan the fused kernel computes, unless cuDNN is asked for.
  template <typename Args>
  bool cudnn_takes(AttentionPass pass, const AttentionSizes& sizes, const Args& args,
                   const std::optional<AttentionRectangles>& rectangles);

  /// Gives one rectangle to cuDNN. @returns whether it computed it; where it fails though it had planned the shape, the fused
  /// kernel computes it, from then on for every block of that shape, unless cuDNN is asked for
  template <typename Compute> bool is_done_by_cudnn(const Compute& compute);

  BackendOptions options_;
  std::string cudnn_missing_;
  std::unique_ptr<RectangleAttention> cudnn_;
  std::set<std::string> decisions_;
};

}  // namespace rondo::cuda
