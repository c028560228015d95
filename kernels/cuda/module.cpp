// SPDX-License-Identifier: Apache-2.0
// The module's one exported symbol: what there is, and how to open it.
#include <array>
#include <dlfcn.h>

#include "kernels/cuda/backend.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/cudnn_attention.hpp"
#include "kernels/cuda/device.hpp"
#if RONDO_HAS_NCCL
#include "kernels/cuda/nccl_transport.hpp"
#endif
#include "kernels/device_module.hpp"

namespace rondo::cuda {

namespace {

// CUDA counts 1000 * major + 10 * minor.
std::string cuda_version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

int driver_number() {
  int number = 0;  // stays 0 where there is no driver
  return cudaDriverGetVersion(&number) == cudaSuccess ? number : 0;
}

int num_devices(std::string& why_none) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  why_none = cudaGetErrorString(status == cudaSuccess ? cudaErrorNoDevice : status);
  const int driver = driver_number();
  if (driver == 0) {
    why_none = "there is no NVIDIA driver on this host";
  } else if (status == cudaErrorInsufficientDriver) {
    why_none = "the driver is for CUDA " + cuda_version(driver) + ", the module needs one for CUDA " +
               cuda_version(CUDART_VERSION) + " or newer";
  }
  return 0;
}

// Libraries are asked by name, since each belongs to a part of the module that may have been left out of the build.
template <typename Function> Function* find_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

std::string dotted(int number) {
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

std::string cublas_version() {
  auto* get_version = find_function<std::size_t()>("cublasLtGetVersion");
  return get_version == nullptr ? "not in this build" : dotted(static_cast<int>(get_version()));
}

std::string nccl_version() {
  auto* get_version = find_function<int(int*)>("ncclGetVersion");
  int number = 0;
  return get_version == nullptr || get_version(&number) != 0 ? "not in this build" : dotted(number);
}

// Opened at run time, so that the module loads without it.
std::string cudnn_or_none() {
  constexpr std::string_view kName = "cuDNN ";
  const std::string text = describe_cudnn();
  return text.starts_with(kName) ? text.substr(kName.size()) : text;
}

std::vector<LibraryVersion> versions() {
  const int driver = driver_number();
  return {{"CUDA", cuda_version(CUDART_VERSION)},
          {"driver", driver == 0 ? "none" : "for CUDA " + cuda_version(driver)},
          {"cuBLAS", cublas_version()},
          {"cuDNN", cudnn_or_none()},
          {"NCCL", nccl_version()}};
}

GpuInfo device_info(int ordinal) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal));
  std::array<char, 32> bus_id{};
  check(cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), ordinal));
  return {.name = properties.name,
          .pci_bus_id = bus_id.data(),
          .memory_bytes = properties.totalGlobalMem,
          .compute_capability = 10 * properties.major + properties.minor};
}

std::unique_ptr<Device> open_device(int ordinal) { return std::make_unique<CudaDevice>(ordinal); }

}  // namespace

}  // namespace rondo::cuda

extern "C" __attribute__((visibility("default"))) const rondo::DeviceModule* rondo_device_module() {
  static const rondo::DeviceModule module {
    .build_id = RONDO_BUILD_ID, .num_devices = rondo::cuda::num_devices, .versions = rondo::cuda::versions,
    .device_info = rondo::cuda::device_info, .open_device = rondo::cuda::open_device,
    .make_backend = rondo::cuda::make_backend,
#if RONDO_HAS_NCCL
    .new_nccl_id = rondo::cuda::new_nccl_id, .make_nccl_transport = rondo::cuda::make_nccl_transport,
#else
    .new_nccl_id = nullptr, .make_nccl_transport = nullptr,
#endif
  };
  return &module;
}
