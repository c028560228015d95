// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu_map.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.hpp"

namespace rondo {

namespace {

constexpr int kNone = -1;

/// Assigns every rank of a host one of the GPUs that it sees, and no GPU to more than `most_ranks` ranks.
class HostMatching {
 public:
  HostMatching(std::span<const RankGpus> ranks, const std::vector<std::size_t>& of_host, std::size_t most_ranks)
      : ranks_(ranks), of_host_(of_host), most_ranks_(most_ranks), bus_ids_(of_host.size()) {}

  bool match_all() {
    for (std::size_t i = 0; i < of_host_.size(); ++i) {
      std::set<std::string> tried;
      if (!match(i, tried)) return false;
    }
    return true;
  }
  const std::string& bus_id(std::size_t index) const { return bus_ids_[index]; }

 private:
  // A rank takes the first GPU with room among those it sees, otherwise one that another rank can leave for another GPU
  // (augmenting paths of a bipartite matching).
  bool match(std::size_t index, std::set<std::string>& tried) {
    const std::vector<std::string>& seen = ranks_[of_host_[index]].bus_ids;
    const std::set<std::string> sorted(seen.begin(), seen.end());
    for (const std::string& bus_id : sorted) {
      if (!tried.contains(bus_id) && taken_[bus_id].size() < most_ranks_) return take(index, bus_id);
    }
    for (const std::string& bus_id : sorted) {
      if (!tried.insert(bus_id).second) continue;
      for (const std::size_t holder : std::set<std::size_t>(taken_[bus_id])) {
        taken_[bus_id].erase(holder);
        if (match(holder, tried)) return take(index, bus_id);
        taken_[bus_id].insert(holder);
      }
    }
    return false;
  }
  bool take(std::size_t index, const std::string& bus_id) {
    taken_[bus_id].insert(index);
    bus_ids_[index] = bus_id;
    return true;
  }

  std::span<const RankGpus> ranks_;
  const std::vector<std::size_t>& of_host_;
  std::size_t most_ranks_;
  std::map<std::string, std::set<std::size_t>> taken_;
  std::vector<std::string> bus_ids_;
};

std::string counted(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// Ranks by host, hosts in order of their first ranks.
std::vector<std::vector<std::size_t>> ranks_by_host(std::span<const RankGpus> ranks) {
  std::vector<std::vector<std::size_t>> hosts;
  std::map<std::string, std::size_t> known;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto [place, is_new] = known.try_emplace(ranks[rank].host, hosts.size());
    if (is_new) hosts.emplace_back();
    hosts[place->second].push_back(rank);
  }
  return hosts;
}

void require_gpus(std::span<const RankGpus> ranks) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (!ranks[rank].bus_ids.empty()) continue;
    throw DeviceError("rank " + std::to_string(rank) + " on host " + ranks[rank].host + " sees no GPU",
                      "CUDA_VISIBLE_DEVICES",
                      "ask the launcher for a GPU for every rank (srun --gpus-per-task=1), or start fewer ranks there");
  }
}

[[noreturn]] void refuse_sharing(std::span<const RankGpus> ranks, const std::vector<std::size_t>& of_host) {
  std::set<std::string> gpus;
  for (const std::size_t rank : of_host) gpus.insert(ranks[rank].bus_ids.begin(), ranks[rank].bus_ids.end());
  const std::string& host = ranks[of_host.front()].host;
  const bool are_enough = gpus.size() >= of_host.size();
  throw DeviceError(
      are_enough ? "ranks on host " + host + " see the same GPU only, while others are free; two ranks would share it"
                 : counted(of_host.size(), "rank") + " on host " + host + " would share " +
                       counted(gpus.size(), "GPU") + ", which NCCL cannot do",
      "parallel.transport",
      are_enough
          ? "let every rank see all GPUs of the host, or one of its own (CUDA_VISIBLE_DEVICES, srun --gpus-per-task=1)"
          : "start at most " + counted(gpus.size(), "rank") +
                " there (mpirun --map-by ppr:N:node, srun --ntasks-per-node), or set parallel.transport = \"mpi\"");
}

}  // namespace

std::vector<int> map_ranks_to_gpus(std::span<const RankGpus> ranks, GpuSharing sharing) {
  require_gpus(ranks);
  std::vector<int> ordinals(ranks.size(), kNone);
  for (const std::vector<std::size_t>& of_host : ranks_by_host(ranks)) {
    for (std::size_t most_ranks = 1;; ++most_ranks) {
      HostMatching matching(ranks, of_host, most_ranks);
      if (!matching.match_all()) {
        if (sharing == GpuSharing::Refused) refuse_sharing(ranks, of_host);
        continue;
      }
      for (std::size_t i = 0; i < of_host.size(); ++i) {
        const std::vector<std::string>& seen = ranks[of_host[i]].bus_ids;
        ordinals[of_host[i]] = static_cast<int>(std::ranges::find(seen, matching.bus_id(i)) - seen.begin());
      }
      break;
    }
  }
  return ordinals;
}

std::vector<std::string> gpu_map_lines(std::span<const RankGpus> ranks, std::span<const int> ordinals) {
  std::vector<std::string> lines;
  for (const std::vector<std::size_t>& of_host : ranks_by_host(ranks)) {
    std::string line = ranks[of_host.front()].host + ":";
    for (const std::size_t rank : of_host) {
      const auto ordinal = static_cast<std::size_t>(ordinals[rank]);
      line += (rank == of_host.front() ? " rank " : ", rank ") + std::to_string(rank) + " on GPU " +
              std::to_string(ordinal) + " (" + ranks[rank].bus_ids[ordinal] + ")";
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace rondo
