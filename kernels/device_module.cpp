// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_module.hpp"

#include <dlfcn.h>
#include <filesystem>

namespace rondo {

namespace {

/// The folder of librondo.so, which also contains the module.
std::filesystem::path library_folder() {
  Dl_info info{};
  const int found = dladdr(reinterpret_cast<const void*>(&build_id), &info);
  ensure(found != 0 && info.dli_fname != nullptr, "the library knows its own file");
  return std::filesystem::absolute(info.dli_fname).parent_path();
}

const DeviceModule& open_module() {
  const std::filesystem::path path = library_folder() / "librondo_cuda.so";
  if (!std::filesystem::exists(path)) {
    throw DeviceError("no GPU can be used: the module librondo_cuda.so is missing", path.string(),
                      "build where a CUDA toolkit is found (cmake -DRONDO_CUDA=ON), or set parallel.device = \"cpu\"");
  }
  // Never closed: its devices and their memory live until the process ends.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw DeviceError(std::string("the GPU module cannot be loaded: ") + dlerror(), path.string(),
                      "load the CUDA toolkit that Rondo was built with");
  }
  using Entry = const DeviceModule* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "rondo_device_module"));
  const DeviceModule* module = entry == nullptr ? nullptr : entry();
  if (module == nullptr || std::string(module->build_id) != build_id()) {
    throw DeviceError("the GPU module belongs to another build of Rondo", path.string(),
                      "build and install the program and the module together");
  }
  return *module;
}

}  // namespace

const char* build_id() { return RONDO_BUILD_ID; }

const DeviceModule& device_module() {
  static const DeviceModule& module = open_module();
  return module;
}

bool is_gpu_driver_installed() {
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) return false;
  dlclose(driver);
  return true;
}

}  // namespace rondo
