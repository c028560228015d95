// SPDX-License-Identifier: Apache-2.0
// The fast backend for CPUs, fp32 and bf16: oneDNN for matrix products, our own fused kernels for the rest, chosen at run
// time by instruction set. Only the reference backend supports fp64.
#pragma once

#include <memory>

#include "kernels/backend.hpp"
#include "kernels/cpu/isa.hpp"
#include "kernels/workspace.hpp"

namespace rondo {

struct CpuOptions {
  int threads = 0;                     ///< 0: the default of OpenMP (OMP_NUM_THREADS, or the cores of the rank)
  cpu::Isa isa_limit = cpu::Isa::Amx;  ///< the highest instruction set to use, for tests and comparisons
};

/// Results depend on the instruction set and, in matrix products only, on the number of threads; not on timing.
/// @pre the device is a CPU and outlives the backend
std::unique_ptr<Backend> make_cpu_backend(Device& device, const CpuOptions& options);
/// The memory that this backend allocates besides its arguments. @pre the device outlives it; it may be one without memory
std::unique_ptr<KernelWorkspace> make_cpu_workspace(Device& device, const CpuOptions& options);

}  // namespace rondo
