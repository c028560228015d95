// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/cuda_world.hpp"
#include "tests/kernels/cuda/emulated_device.hpp"
#include "tests/support/cuda_emulation/emulation.hpp"

namespace rondo::test {

std::unique_ptr<Device> open_cuda_device(std::string&) { return make_emulated_device(); }
std::unique_ptr<Backend> make_cuda_backend(Device& device) { return make_emulated_backend(device); }
void set_turn_order(TurnOrder order) {
  emulation::set_order(order == TurnOrder::Ascending ? emulation::Order::Ascending : emulation::Order::Descending);
}

}  // namespace rondo::test
