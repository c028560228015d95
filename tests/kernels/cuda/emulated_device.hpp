// SPDX-License-Identifier: Apache-2.0
// A GPU that is this CPU: the kernels of kernels/cuda run through tests/support/cuda_emulation, every buffer lies between
// guard pages. All operations but matrix products, which are a library of NVIDIA's.
#pragma once

#include <memory>

#include "kernels/backend.hpp"

namespace rondo::test {

std::unique_ptr<Device> make_emulated_device();
std::unique_ptr<Backend> make_emulated_backend(Device& device);

}  // namespace rondo::test
