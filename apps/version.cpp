// SPDX-License-Identifier: Apache-2.0
// `rondo --version`. Library versions are queried at run time, since the loaded library matters in a bug report; the functions
// are looked up by name because their headers belong to other layers.
#include <dlfcn.h>
#include <string>

#include "apps/commands.hpp"
#include "apps/commit.hpp"
#include "kernels/device_module.hpp"

namespace rondo {

namespace {

template <typename Function> Function* find_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

std::string mpi_version() {
  auto* get_version = find_function<int(char*, int*)>("MPI_Get_library_version");  // allowed before MPI_Init
  if (get_version == nullptr) return "not linked";
  std::string text(8192, '\0');  // MPI_MAX_LIBRARY_VERSION_STRING: 256 in Open MPI, 8192 in MPICH
  int length = 0;
  if (get_version(text.data(), &length) != 0) return "unknown";
  text.resize(static_cast<std::size_t>(length));
  return text.substr(0, text.find(','));
}

std::string hdf5_version() {
  auto* get_version = find_function<int(unsigned*, unsigned*, unsigned*)>("H5get_libversion");
  unsigned major = 0, minor = 0, release = 0;
  if (get_version == nullptr || get_version(&major, &minor, &release) < 0) return "not linked";
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

std::string onednn_version() {
  struct Version {  // the first members of dnnl_version_t
    int major, minor, patch;
  };
  auto* get_version = find_function<const Version*()>("dnnl_version");
  if (get_version == nullptr) return "not linked";
  const Version* version = get_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch);
}

// The module's libraries, or why no module can be opened: never an error.
std::string gpu_versions() {
  try {
    std::string text;
    for (const LibraryVersion& of : device_module().versions())
      text += (text.empty() ? "" : ", ") + of.library + " " + of.version;
    return text;
  } catch (const Error& error) {
    return "none: " + error.message();
  } catch (const std::exception& error) {
    return std::string("none: ") + error.what();
  }
}

}  // namespace

std::string version_text() {
  return std::string("rondo ") + RONDO_VERSION + " (" + RONDO_BUILD_TYPE + " build, commit " + RONDO_COMMIT +
         ")\nMPI    " + mpi_version() + "\nHDF5   " + hdf5_version() + "\noneDNN " + onednn_version() + "\nGPU    " +
         gpu_versions();
}

}  // namespace rondo
