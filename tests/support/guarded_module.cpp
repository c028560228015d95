// SPDX-License-Identifier: Apache-2.0
#include "tests/support/guarded_module.hpp"

#include <cstdlib>

#include "comm/transport.hpp"
#include "tests/support/guarded_device.hpp"

namespace rondo::test {

namespace {

constexpr int kFaultyOrdinal = 1;

long number_from(const char* variable, long otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atol(text);
}

std::uint64_t gpu_bytes() { return static_cast<std::uint64_t>(number_from("RONDO_TEST_GPU_BYTES", 1L << 30)); }

int num_devices(std::string& why_none) {
  const auto count = static_cast<int>(number_from("RONDO_TEST_GPUS", 4));
  if (count == 0) why_none = "this host of the tests has none";
  return count;
}

std::vector<LibraryVersion> versions() { return {{"guarded", "1"}}; }

GpuInfo device_info(int ordinal) {
  return {.name = "guarded",
          .pci_bus_id = "0000:0" + std::to_string(ordinal) + ":00.0",
          .memory_bytes = gpu_bytes(),
          .compute_capability = static_cast<int>(number_from("RONDO_TEST_GPU_CAPABILITY", 90))};
}

std::unique_ptr<Device> open_device(int ordinal) {
  const bool is_faulty = ordinal == kFaultyOrdinal;
  const auto taken = static_cast<std::uint64_t>(is_faulty ? number_from("RONDO_TEST_GPU_TAKEN_BYTES", 0) : 0);
  auto device = std::make_unique<GuardedDevice>(gpu_bytes() - taken);
  const long full_after = is_faulty ? number_from("RONDO_TEST_GPU_FULL_AFTER", 0) : 0;
  if (full_after > 0) device->be_full_after(static_cast<std::uint64_t>(full_after));
  return device;
}

std::unique_ptr<Backend> make_backend(Device& device, const BackendOptions& options) {
  return make_guarded_backend(device, options);
}

std::string new_nccl_id() { return "id"; }
std::unique_ptr<Transport> make_nccl_transport(const NcclSetup& setup) {
  if (setup.rank == number_from("RONDO_TEST_NCCL_STUCK_RANK", -1)) {
    while (!setup.all_ready(false)) {
    }
  }
  throw CommError("the tests have no NCCL, also not for " + std::to_string(setup.max_ctas) + " CTAs");
}

}  // namespace

const DeviceModule& guarded_module() {
  const bool has_nccl = number_from("RONDO_TEST_NCCL", 0) != 0;
  static const DeviceModule module{.build_id = build_id(),
                                   .num_devices = num_devices,
                                   .versions = versions,
                                   .device_info = device_info,
                                   .open_device = open_device,
                                   .make_backend = make_backend,
                                   .new_nccl_id = new_nccl_id,
                                   .make_nccl_transport = has_nccl ? make_nccl_transport : nullptr};
  return module;
}

}  // namespace rondo::test

/// Built as a library of its own, this file replaces librondo_cuda.so.
extern "C" __attribute__((visibility("default"))) const rondo::DeviceModule* rondo_device_module() {
  return &rondo::test::guarded_module();
}
