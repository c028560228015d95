// SPDX-License-Identifier: Apache-2.0
// The operations of the CUDA backend that exist so far, one .cu file each. All are asynchronous on their
// stream.
#pragma once

#include "kernels/backend.hpp"

namespace rondo::cuda {

void fill(Stream& stream, const TensorView& to, double value);
void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args);
void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args);
void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args);
void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args);
void attention_delta(Stream& stream, const AttentionDeltaArgs& args);

}  // namespace rondo::cuda
