// SPDX-License-Identifier: Apache-2.0
// Options of a backend, besides its device.
#pragma once

#include "core/attention_kernel.hpp"

namespace rondo {

struct BackendOptions {
  bool deterministic = true;  ///< train.deterministic: only kernels with bitwise reproducible results
  AttentionKernel attention_kernel = AttentionKernel::Auto;  ///< parallel.attention_kernel
};

}  // namespace rondo
