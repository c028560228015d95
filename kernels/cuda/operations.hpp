// SPDX-License-Identifier: Apache-2.0
// The operations of the CUDA backend that are kernels of our own, one .cu file a header of kernels/. All are asynchronous
// on their stream. Matrix products are in matmul.hpp.
#pragma once

#include "kernels/backend.hpp"

namespace rondo::cuda {

void fill(Stream& stream, const TensorView& to, double value);
void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args);
void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args);
void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args);
void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args);
void qkv_split_forward(Stream& stream, const QkvSplitForwardArgs& args);
void qkv_split_backward(Stream& stream, const QkvSplitBackwardArgs& args);
void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args);
void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args);
void attention_delta(Stream& stream, const AttentionDeltaArgs& args);
void memory_normaliser_forward(Stream& stream, const MemoryNormaliserForwardArgs& args);
void memory_normaliser_backward(Stream& stream, const MemoryNormaliserBackwardArgs& args);
void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args);
void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args);
void memory_fold(Stream& stream, const MemoryFoldArgs& args);
void memory_gate_forward(Stream& stream, const MemoryGateForwardArgs& args);
void swiglu_forward(Stream& stream, const SwigluForwardArgs& args);
void swiglu_backward(Stream& stream, const SwigluBackwardArgs& args);
void cross_entropy(Stream& stream, const CrossEntropyArgs& args);
void convert(Stream& stream, const ConvertArgs& args);
void add(Stream& stream, const AddArgs& args);
void adamw(Stream& stream, const AdamWArgs& args);

/// Doubles that a sum needs on the device: the sums of as many chunks, less one, as are folded at a time.
inline constexpr std::int64_t kSumWorkspace = 65536 + 1;
/// @param workspace kSumWorkspace doubles; calls on one stream may share them
void sum(Stream& stream, const SumArgs& args, double* workspace);
/// @param workspace as for sum()
void memory_gate_backward(Stream& stream, const MemoryGateBackwardArgs& args, double* workspace);

}  // namespace rondo::cuda
