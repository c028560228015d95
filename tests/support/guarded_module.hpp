// SPDX-License-Identifier: Apache-2.0
// A mock of the GPU module, whose GPUs are guarded devices: with it the whole program runs on mock devices, on any machine.
#pragma once

#include "kernels/device_module.hpp"

namespace rondo::test {

/// Environment variables, with defaults in brackets, describe a host: RONDO_TEST_GPUS (4), RONDO_TEST_GPU_BYTES each (1 GiB),
/// RONDO_TEST_GPU_CAPABILITY (90), and RONDO_TEST_NCCL (0), an NCCL that is found but never works. On GPU 1 other processes
/// hold RONDO_TEST_GPU_TAKEN_BYTES (0), and take the rest after RONDO_TEST_GPU_FULL_AFTER of its operations (never).
const DeviceModule& guarded_module();

}  // namespace rondo::test
