// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_module.hpp"
#include "tests/kernels/cuda/cuda_world.hpp"

namespace rondo::test {

std::unique_ptr<Device> open_cuda_device(std::string& why_none) {
  if (device_module().num_devices(why_none) == 0) return nullptr;
  return device_module().open_device(0);
}
// What is compared here are our kernels: cuDNN has a test of its own.
std::unique_ptr<Backend> make_cuda_backend(Device& device) {
  return device_module().make_backend(device, {.attention_kernel = AttentionKernel::Fused});
}
void set_turn_order(TurnOrder) {}

}  // namespace rondo::test
