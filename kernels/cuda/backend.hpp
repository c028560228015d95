// SPDX-License-Identifier: Apache-2.0
// The backend of GPUs: every operation of the catalogue as CUDA kernels or calls of CUDA's libraries.
#pragma once

#include <memory>

#include "kernels/backend.hpp"
#include "kernels/backend_options.hpp"

namespace rondo::cuda {

/// @pre the device is a GPU and outlives the backend
std::unique_ptr<Backend> make_backend(Device& device, const BackendOptions& options);

}  // namespace rondo::cuda
