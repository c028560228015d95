// SPDX-License-Identifier: Apache-2.0
// Measured peak: what a large square product of random matrices reaches on the same device in the same run.
#pragma once

#include "apps/bench/harness.hpp"

namespace rondo::bench {

/// The best of the sizes in the options. On CPUs the weights are packed beforehand in oneDNN's preferred format, with the same
/// threads; on GPUs it is the backend's own product with results in the same type. All ranks measure at once, and their rates
/// are added. If oneDNN has no product of the type, as for bf16 on CPUs without AVX-512, the peak is not measured. Collective.
Peak measure_peak(Runtime& runtime, DType dtype, const RunOptions& options);

}  // namespace rondo::bench
