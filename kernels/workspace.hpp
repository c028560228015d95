// SPDX-License-Identifier: Apache-2.0
// The memory that the kernels of a backend allocate besides their arguments: scratch during a call, and buffers of the backend.
// A plan queries it for any backend, without its device.
#pragma once

#include <memory>

#include "core/device.hpp"
#include "kernels/attention.hpp"
#include "kernels/compressive_memory.hpp"
#include "kernels/matmul.hpp"
#include "kernels/norm.hpp"

namespace rondo {

/// Each call allocates and releases what the operation of the same name does, from the scratch of its arguments or the
/// backend's device. Only types and shapes of tensors matter; nothing is read or computed. Operations that are missing here
/// allocate nothing on any backend; the default implementations allocate nothing.
class KernelWorkspace {
 public:
  virtual ~KernelWorkspace() = default;

  virtual void matmul(const MatmulArgs&) {}
  virtual void rms_norm_backward(const RmsNormBackwardArgs&) {}
  virtual void block_attention_forward(const BlockAttentionForwardArgs&) {}
  virtual void block_attention_backward(const BlockAttentionBackwardArgs&) {}
  virtual void memory_normaliser_forward(const MemoryNormaliserForwardArgs&) {}
  virtual void memory_normaliser_backward(const MemoryNormaliserBackwardArgs&) {}
  virtual void compressive_memory_forward(const CompressiveMemoryForwardArgs&) {}
  virtual void compressive_memory_backward(const CompressiveMemoryBackwardArgs&) {}
};

}  // namespace rondo
