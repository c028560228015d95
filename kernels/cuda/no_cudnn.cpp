// SPDX-License-Identifier: Apache-2.0
// Stands for cudnn_attention.cpp in a module that was built without cuDNN.
#include "kernels/cuda/cudnn_attention.hpp"

namespace rondo::cuda {

std::unique_ptr<RectangleAttention> make_cudnn_attention(std::string& why_not) {
  why_not = "the module was built without cuDNN";
  return nullptr;
}

std::string describe_cudnn() { return "not in this build"; }

}  // namespace rondo::cuda
