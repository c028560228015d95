// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/memory_tensors.cuh"

namespace rondo::cuda {

namespace {

constexpr int kSteps = 160;  // a launch; parameters of a kernel have 4 KiB

struct SomeSteps {
  DeviceStep* to;
  int count;
  DeviceStep steps[kSteps];
};
static_assert(sizeof(SomeSteps) <= 4096);

__global__ void put_steps_kernel(const SomeSteps some) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < some.count) some.to[i] = some.steps[i];
}

}  // namespace

const DeviceStep* device_steps(Stream& stream, const MemorySchedule& schedule, Arena& scratch) {
  const std::int64_t num_steps = schedule.num_steps();
  auto* all = static_cast<DeviceStep*>(scratch.take(static_cast<std::size_t>(num_steps) * sizeof(DeviceStep)));
  SomeSteps some{};
  for (std::int64_t first = 0; first < num_steps; first += kSteps) {
    some.to = all + first;
    some.count = static_cast<int>(std::min<std::int64_t>(kSteps, num_steps - first));
    for (int i = 0; i < some.count; ++i) {
      const MemoryStep& step = schedule.steps[static_cast<std::size_t>(first + i)];
      some.steps[i] = {.first_query = step.first_query,
                       .first_key = step.first_key,
                       .num_queries = static_cast<int>(step.num_queries),
                       .is_reset = step.is_reset};
    }
    launch(put_steps_kernel, stream, {.blocks = 1, .threads = kSteps}, some);
  }
  return all;
}

}  // namespace rondo::cuda
