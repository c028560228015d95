// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/sm_version.hpp"

#include "kernels/cuda/check.hpp"

namespace rondo::cuda {

int sm_version_of_current_gpu() {
  int ordinal = 0, major = 0, minor = 0;
  check(cudaGetDevice(&ordinal));
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal));
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal));
  return 10 * major + minor;
}

}  // namespace rondo::cuda
