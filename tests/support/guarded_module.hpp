// SPDX-License-Identifier: Apache-2.0
// A GPU module of the tests, whose GPUs are guarded devices: with it the whole program runs as on GPUs, on any machine.
#pragma once

#include "kernels/device_module.hpp"

namespace rondo::test {

/// The environment says what a host has: RONDO_TEST_GPUS (4 if not set), RONDO_TEST_GPU_BYTES of each (1 GiB),
/// RONDO_TEST_GPU_CAPABILITY (90), and whether RONDO_TEST_NCCL is there (0), which never works. Of GPU 1 other processes may
/// have RONDO_TEST_GPU_TAKEN_BYTES (0), and take all that is left after RONDO_TEST_GPU_FULL_AFTER of its operations (never).
const DeviceModule& guarded_module();

}  // namespace rondo::test
