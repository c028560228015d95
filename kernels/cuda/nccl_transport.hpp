// SPDX-License-Identifier: Apache-2.0
// Tensors between GPUs over NCCL.
#pragma once

#include <memory>
#include <string>

#include "comm/transport.hpp"
#include "kernels/device_module.hpp"

namespace rondo::cuda {

/// What the ranks of a group must share before they can meet; made on one of them. @throws CommError
std::string new_nccl_id();

/// Made by all ranks of the group together. @throws CommError
std::unique_ptr<Transport> make_nccl_transport(const NcclSetup& setup);

}  // namespace rondo::cuda
