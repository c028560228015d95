// SPDX-License-Identifier: Apache-2.0
// All operations of a backend. `reference` is the specification, `cpu` and `cuda` are fast; all take the same arguments.
#pragma once

#include <string>
#include <vector>

#include "core/device.hpp"
#include "kernels/attention.hpp"
#include "kernels/compressive_memory.hpp"
#include "kernels/cross_entropy.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/matmul.hpp"
#include "kernels/norm.hpp"
#include "kernels/rope.hpp"
#include "kernels/swiglu.hpp"

namespace rondo {

/// Every call is asynchronous on its stream: inputs must be ready in stream order, outputs are ready in stream order, and
/// all memory must stay allocated until then. Arguments are checked at the call.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;
  /// Which kernels compute blocks like this one and those of earlier calls: one line per kernel, with the reason. Empty if
  /// there is no choice. Only the types and shapes of the tensors matter.
  /// @throws ConfigError if parallel.attention_kernel names a kernel that cannot compute them
  virtual std::vector<std::string> attention_kernels(const BlockAttentionForwardArgs&) { return {}; }

  virtual void matmul(Stream&, const MatmulArgs&) = 0;
  virtual void rms_norm_forward(Stream&, const RmsNormForwardArgs&) = 0;
  virtual void rms_norm_backward(Stream&, const RmsNormBackwardArgs&) = 0;
  virtual void embedding_forward(Stream&, const EmbeddingForwardArgs&) = 0;
  virtual void embedding_backward(Stream&, const EmbeddingBackwardArgs&) = 0;
  virtual void qkv_split_forward(Stream&, const QkvSplitForwardArgs&) = 0;
  virtual void qkv_split_backward(Stream&, const QkvSplitBackwardArgs&) = 0;
  virtual void block_attention_forward(Stream&, const BlockAttentionForwardArgs&) = 0;
  virtual void block_attention_backward(Stream&, const BlockAttentionBackwardArgs&) = 0;
  virtual void attention_delta(Stream&, const AttentionDeltaArgs&) = 0;
  virtual void memory_normaliser_forward(Stream&, const MemoryNormaliserForwardArgs&) = 0;
  virtual void memory_normaliser_backward(Stream&, const MemoryNormaliserBackwardArgs&) = 0;
  virtual void compressive_memory_forward(Stream&, const CompressiveMemoryForwardArgs&) = 0;
  virtual void compressive_memory_backward(Stream&, const CompressiveMemoryBackwardArgs&) = 0;
  virtual void memory_fold(Stream&, const MemoryFoldArgs&) = 0;
  virtual void memory_gate_forward(Stream&, const MemoryGateForwardArgs&) = 0;
  virtual void memory_gate_backward(Stream&, const MemoryGateBackwardArgs&) = 0;
  virtual void swiglu_forward(Stream&, const SwigluForwardArgs&) = 0;
  virtual void swiglu_backward(Stream&, const SwigluBackwardArgs&) = 0;
  virtual void cross_entropy(Stream&, const CrossEntropyArgs&) = 0;
  virtual void convert(Stream&, const ConvertArgs&) = 0;
  virtual void add(Stream&, const AddArgs&) = 0;
  virtual void sum(Stream&, const SumArgs&) = 0;
  virtual void adamw(Stream&, const AdamWArgs&) = 0;
};

}  // namespace rondo
