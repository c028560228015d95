// SPDX-License-Identifier: Apache-2.0
#include "apps/bench/peak.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "apps/bench/tensors.hpp"
#include "kernels/cpu/packed_product.hpp"

namespace rondo::bench {

namespace {

RunOptions runs_for(std::int64_t size) {
  RunOptions options;
  options.warm_ups = size < 4096 ? 2 : 1;
  options.runs = size < 2048 ? 15 : 5;
  return options;
}

/// @returns nothing if there is no such product
std::optional<Timing> time_packed(Execution& execution, DType dtype, std::int64_t size, int threads,
                                  std::string& implementation) {
  const auto product = cpu::PackedSquareProduct::make(dtype, size, threads);
  if (!product) return {};
  implementation = product->implementation();
  return measure(execution, runs_for(size), {[] {}, [&] { product->run(); }});
}

std::optional<Timing> time_backend(Execution& execution, DType dtype, std::int64_t size, std::string& implementation) {
  const Buffer a(execution.device, dtype, {size, size}, MemoryUse::Workspace);
  const Buffer b(execution.device, dtype, {size, size}, MemoryUse::Workspace);
  const Buffer c(execution.device, dtype, {size, size}, MemoryUse::Workspace);
  fill_random(execution, a.view(), 1);
  fill_random(execution, b.view(), 2);
  implementation = execution.backend.name();
  const auto run = [&] { execution.backend.matmul(execution.compute, {.a = a.view(), .b = b.view(), .c = c.view()}); };
  return measure(execution, runs_for(size), {[] {}, run});
}

}  // namespace

Peak measure_peak(Runtime& runtime, DType dtype, const RunOptions& options) {
  Execution& execution = runtime.execution();
  const bool is_cpu = execution.device.kind() == DeviceKind::Cpu;
  std::vector<std::int64_t> sizes = options.peak_sizes;
  if (sizes.empty() && is_cpu) sizes = {512, 1024, 2048, 4096};
  if (sizes.empty()) sizes = {4096, 8192, 16384};
  Peak best{.dtype = dtype, .flops_per_s = 0, .size = 0, .implementation = {}};
  for (const std::int64_t size : sizes) {
    std::string implementation;
    const auto timing = is_cpu ? time_packed(execution, dtype, size, runtime.threads(), implementation)
                               : time_backend(execution, dtype, size, implementation);
    if (!timing) continue;
    const auto n = static_cast<double>(size);
    const double flops_per_s = 2 * n * n * n / timing->median_s();
    if (flops_per_s > best.flops_per_s) best = {dtype, flops_per_s, size, implementation};
  }
  const std::vector<double> of_ranks = runtime.world().all_gather(best.flops_per_s);
  const bool all_measured = std::ranges::all_of(of_ranks, [](double of_rank) { return of_rank > 0; });
  best.flops_per_s = all_measured ? std::accumulate(of_ranks.begin(), of_ranks.end(), 0.0) : 0;
  return best;
}

}  // namespace rondo::bench
