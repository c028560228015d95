// SPDX-License-Identifier: Apache-2.0
// The specification of every operation: plain loops on the CPU, in fp64, fp32 and bf16, never optimised. In fp32 and bf16 it is
// the "plain version" of the tolerance rule for the fast backends (docs/numerics.md).
#pragma once

#include <memory>

#include "kernels/backend.hpp"

namespace rondo {

/// @pre the device is a CPU and outlives the backend
std::unique_ptr<Backend> make_reference_backend(Device& device);

}  // namespace rondo
