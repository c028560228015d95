// SPDX-License-Identifier: Apache-2.0
// The operations of the reference backend as free functions, one file each. The work is done on return.
#pragma once

#include "kernels/backend.hpp"

namespace rondo::reference {

void matmul(Stream& stream, const MatmulArgs& args);
void rms_norm_forward(const RmsNormForwardArgs& args);
void rms_norm_backward(const RmsNormBackwardArgs& args);
void embedding_forward(const EmbeddingForwardArgs& args);
void embedding_backward(const EmbeddingBackwardArgs& args);
void qkv_split_forward(const QkvSplitForwardArgs& args);
void qkv_split_backward(const QkvSplitBackwardArgs& args);
void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args);
void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args);
void attention_delta(const AttentionDeltaArgs& args);
void memory_normaliser_forward(const MemoryNormaliserForwardArgs& args);
void memory_normaliser_backward(const MemoryNormaliserBackwardArgs& args);
void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args);
void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args);
void memory_gate_forward(const MemoryGateForwardArgs& args);
void memory_gate_backward(const MemoryGateBackwardArgs& args);
void swiglu_forward(const SwigluForwardArgs& args);
void swiglu_backward(const SwigluBackwardArgs& args);
void cross_entropy(const CrossEntropyArgs& args);
void convert(const ConvertArgs& args);
void add(const AddArgs& args);
void sum(const SumArgs& args);
void adamw(const AdamWArgs& args);

}  // namespace rondo::reference
