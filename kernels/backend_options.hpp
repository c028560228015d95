// SPDX-License-Identifier: Apache-2.0
// What a run asks of a backend beside its device.
#pragma once

#include "core/attention_kernel.hpp"

namespace rondo {

struct BackendOptions {
  bool deterministic = true;  ///< train.deterministic: only kernels that give the same bits each time
  AttentionKernel attention_kernel = AttentionKernel::Auto;  ///< parallel.attention_kernel
};

}  // namespace rondo
