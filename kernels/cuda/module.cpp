// SPDX-License-Identifier: Apache-2.0
// The module's one exported symbol: what there is, and how to open it.
#include "kernels/cuda/backend.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/device_module.hpp"

namespace rondo::cuda {

namespace {

int num_devices(std::string& why_none) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  why_none = cudaGetErrorString(status == cudaSuccess ? cudaErrorNoDevice : status);
  return 0;
}

std::unique_ptr<Device> open_device(int ordinal) { return std::make_unique<CudaDevice>(ordinal); }

}  // namespace

}  // namespace rondo::cuda

extern "C" __attribute__((visibility("default"))) const rondo::DeviceModule* rondo_device_module() {
  static const rondo::DeviceModule module{.build_id = RONDO_BUILD_ID,
                                          .num_devices = rondo::cuda::num_devices,
                                          .open_device = rondo::cuda::open_device,
                                          .make_backend = rondo::cuda::make_backend};
  return &module;
}
