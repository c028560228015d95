// SPDX-License-Identifier: Apache-2.0
// What the kernels of a backend take beside their arguments: scratch for the time of a call, and memory of the backend's own.
// A plan asks for it, of any backend and without its device.
#pragma once

#include <memory>

#include "core/device.hpp"
#include "kernels/attention.hpp"
#include "kernels/compressive_memory.hpp"
#include "kernels/matmul.hpp"
#include "kernels/norm.hpp"

namespace rondo {

/// Each call takes what the operation of the same name takes, from the scratch of its arguments or the backend's device, and
/// gives back what it gives back. Tensors count by type and shape alone; nothing is read or computed. Operations that are
/// missing take nothing on any backend. Those of the base class take nothing.
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
