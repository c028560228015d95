// SPDX-License-Identifier: Apache-2.0
// Which rank computes on which GPU. A pure function of what all ranks see, so all ranks compute the same map.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace rondo {

/// What one rank sees of its host: PCI bus ids in the order of its device ordinals (CUDA_VISIBLE_DEVICES may differ).
struct RankGpus {
  std::string host;
  std::vector<std::string> bus_ids;
};

enum class GpuSharing {
  Refused,  // NCCL cannot have two ranks on one GPU
  Allowed,
};

/// The device ordinal of every rank. Consecutive ranks of a host get consecutive GPUs in order of their bus ids, or share one,
/// so that neighbours in the ring are neighbours in the node.
/// @throws DeviceError that names the host and what to change, if a rank sees no GPU or there are too few
std::vector<int> map_ranks_to_gpus(std::span<const RankGpus> ranks, GpuSharing sharing);

/// One line per host, e.g. "n1: rank 0 on GPU 0 (0000:17:00.0), rank 1 on GPU 1 (0000:2a:00.0)".
std::vector<std::string> gpu_map_lines(std::span<const RankGpus> ranks, std::span<const int> ordinals);

}  // namespace rondo
