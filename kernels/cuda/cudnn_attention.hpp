// SPDX-License-Identifier: Apache-2.0
// Block attention by cuDNN's fused engines: rectangle by rectangle, each partial result merged or added in one pass.
#pragma once

#include <memory>
#include <string>

#include "core/error.hpp"
#include "kernels/attention.hpp"
#include "kernels/cuda/attention_choice.hpp"

namespace rondo::cuda {

/// The library could not run what it had planned. Nothing was written, and refusal() names the reason from now on.
struct PlanFailure : DeviceError {
  using DeviceError::DeviceError;
};

class RectangleAttention {
 public:
  virtual ~RectangleAttention() = default;
  /// Plans what is not planned yet, which may take seconds. @returns why the library cannot compute the block; empty when it can
  virtual std::string refusal(AttentionPass pass, const AttentionSizes& sizes, double scale,
                              const AttentionRectangles& rectangles) = 0;
  /// As Backend::block_attention_forward, for one of the rectangles of the arguments' mask and runs. @throws PlanFailure
  virtual void forward(Stream& stream, const BlockAttentionForwardArgs& args, const AttentionRectangle& rectangle) = 0;
  /// As Backend::block_attention_backward, for one rectangle. @pre args.out is there  @throws PlanFailure
  virtual void backward(Stream& stream, const BlockAttentionBackwardArgs& args,
                        const AttentionRectangle& rectangle) = 0;
};

/// For the current GPU; plans are made when a shape is first seen. @returns null, and why, where cuDNN cannot be used
std::unique_ptr<RectangleAttention> make_cudnn_attention(std::string& why_not);

/// "9.19.0", or why cuDNN cannot be used. Needs no GPU.
std::string describe_cudnn();

}  // namespace rondo::cuda
