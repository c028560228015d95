// SPDX-License-Identifier: Apache-2.0
// The operations of the cpu backend as free functions, one file each. The work is done on return.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/cpu/context.hpp"

namespace rondo::cpu {

void rms_norm_forward(const Context& context, Stream& stream, const RmsNormForwardArgs& args);
void rms_norm_backward(const Context& context, Stream& stream, const RmsNormBackwardArgs& args);
void embedding_forward(const Context& context, Stream& stream, const EmbeddingForwardArgs& args);
void embedding_backward(const Context& context, Stream& stream, const EmbeddingBackwardArgs& args);
void block_attention_forward(const Context& context, Stream& stream, const BlockAttentionForwardArgs& args);
void block_attention_backward(const Context& context, Stream& stream, const BlockAttentionBackwardArgs& args);
void attention_delta(const Context& context, Stream& stream, const AttentionDeltaArgs& args);
void memory_normaliser_forward(const Context& context, Stream& stream, const MemoryNormaliserForwardArgs& args);
void memory_normaliser_backward(const Context& context, Stream& stream, const MemoryNormaliserBackwardArgs& args);
void compressive_memory_forward(const Context& context, Stream& stream, const CompressiveMemoryForwardArgs& args);
void compressive_memory_backward(const Context& context, Stream& stream, const CompressiveMemoryBackwardArgs& args);
void memory_gate_forward(const Context& context, Stream& stream, const MemoryGateForwardArgs& args);
void memory_gate_backward(const Context& context, Stream& stream, const MemoryGateBackwardArgs& args);
void swiglu_forward(const Context& context, Stream& stream, const SwigluForwardArgs& args);
void swiglu_backward(const Context& context, Stream& stream, const SwigluBackwardArgs& args);
void cross_entropy(const Context& context, Stream& stream, const CrossEntropyArgs& args);
void convert(const Context& context, Stream& stream, const ConvertArgs& args);
void add(const Context& context, Stream& stream, const AddArgs& args);
void sum(const Context& context, Stream& stream, const SumArgs& args);
void adamw(const Context& context, Stream& stream, const AdamWArgs& args);

// Allocate the scratch of a call of these operations; see KernelWorkspace.
void take_scratch(const RmsNormBackwardArgs& args);
void take_scratch(const Context& context, const BlockAttentionForwardArgs& args);
void take_scratch(const Context& context, const BlockAttentionBackwardArgs& args);
void take_scratch(const Context& context, const MemoryNormaliserForwardArgs& args);
void take_scratch(const Context& context, const MemoryNormaliserBackwardArgs& args);
void take_scratch(const Context& context, const CompressiveMemoryForwardArgs& args);
void take_scratch(const Context& context, const CompressiveMemoryBackwardArgs& args);

}  // namespace rondo::cpu
