// SPDX-License-Identifier: Apache-2.0
#include "runtime/machine.hpp"

#include <algorithm>

#include "comm/mpi_session.hpp"
#include "kernels/cpu/backend.hpp"
#include "kernels/reference/backend.hpp"
#include "runtime/gpu_map.hpp"
#include "runtime/nccl_start.hpp"

namespace rondo {

namespace {

constexpr int kLeastComputeCapability = 80;  // bf16 on tensor cores

const DeviceModule& usable_module(const RuntimeOptions& options) {
  const DeviceModule& module = options.module != nullptr ? *options.module : device_module();
  std::string why_none;
  if (module.num_devices(why_none) == 0) {
    throw DeviceError("no GPU can be used: " + why_none, host_name(),
                      "see nvidia-smi and CUDA_VISIBLE_DEVICES there, or set parallel.device = \"cpu\"");
  }
  return module;
}

/// Why this rank cannot use a GPU; empty if it can.
std::string why_no_gpu(const RuntimeOptions& options) {
  if (options.module == nullptr && !is_gpu_driver_installed()) return "there is no NVIDIA driver on this host";
  try {
    usable_module(options);
  } catch (const Error& error) {
    return error.message();
  }
  return {};
}

RankGpus visible_gpus(const DeviceModule& module) {
  std::string ignored;
  RankGpus gpus{.host = host_name(), .bus_ids = {}};
  const int count = module.num_devices(ignored);
  for (int ordinal = 0; ordinal < count; ++ordinal) gpus.bus_ids.push_back(module.device_info(ordinal).pci_bus_id);
  return gpus;
}

// Host names and bus ids have no spaces.
std::vector<RankGpus> gather(const Communicator& world, const RankGpus& mine) {
  std::string text = mine.host;
  for (const std::string& bus_id : mine.bus_ids) text += ' ' + bus_id;
  std::vector<RankGpus> ranks;
  for (const std::string& line : world.all_gather(text)) {
    RankGpus gpus;
    std::size_t first = line.find(' ');
    gpus.host = line.substr(0, first);
    while (first != std::string::npos) {
      const std::size_t next = line.find(' ', first + 1);
      gpus.bus_ids.push_back(line.substr(first + 1, next - first - 1));
      first = next;
    }
    ranks.push_back(std::move(gpus));
  }
  return ranks;
}

void require_capable(const GpuInfo& gpu) {
  if (gpu.compute_capability >= kLeastComputeCapability) return;
  throw DeviceError("the GPU " + gpu.name + " is too old: compute capability " +
                        std::to_string(gpu.compute_capability / 10) + "." +
                        std::to_string(gpu.compute_capability % 10) + ", 8.0 (Ampere) is needed",
                    gpu.pci_bus_id, "use another node, or set parallel.device = \"cpu\"");
}

Machine open_gpu(const Communicator& world, const RuntimeOptions& options, bool has_nccl) {
  Machine machine;
  RankGpus mine;
  agree_on(world, [&] {
    machine.module = &usable_module(options);
    mine = visible_gpus(*machine.module);
    const bool wants_mpi = options.transport == TransportChoice::Mpi ||
                           (options.transport == TransportChoice::Auto && !has_nccl) || world.size() == 1;
    machine.transport = wants_mpi ? TransportChoice::Mpi : TransportChoice::Nccl;
    machine.nccl_max_ctas = options.nccl_max_ctas;
  });
  const std::vector<RankGpus> ranks = gather(world, mine);
  agree_on(world, [&] {
    const bool may_share = machine.transport == TransportChoice::Mpi;
    const std::vector<int> ordinals = map_ranks_to_gpus(ranks, may_share ? GpuSharing::Allowed : GpuSharing::Refused);
    machine.map = gpu_map_lines(ranks, ordinals);
    const auto me = static_cast<std::size_t>(world.rank());
    const auto bus_id_of = [&](std::size_t rank) {
      return ranks[rank].bus_ids[static_cast<std::size_t>(ordinals[rank])];
    };
    std::uint64_t sharers = 0;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      if (ranks[rank].host == ranks[me].host && bus_id_of(rank) == bus_id_of(me)) ++sharers;
    }
    const GpuInfo gpu = machine.module->device_info(ordinals[me]);
    require_capable(gpu);
    machine.memory_bytes = gpu.memory_bytes / sharers;
    machine.device = machine.module->open_device(ordinals[me]);
    machine.backend = machine.module->make_backend(*machine.device, options.backend);
  });
  return machine;
}

}  // namespace

void require_transport(const RuntimeOptions& options) {
  if (options.transport != TransportChoice::Nccl || options.device == DeviceChoice::Cuda) return;
  throw ConfigError("transport nccl needs parallel.device = \"cuda\"", "parallel.transport", "use \"auto\" or \"mpi\"");
}

DeviceDecision choose_device(const Communicator& world, const RuntimeOptions& options) {
  DeviceDecision decision{.device = options.device, .reason = {}};
  if (options.device == DeviceChoice::Auto) {
    const std::vector<std::string> reasons = world.all_gather(why_no_gpu(options));
    const auto first = std::ranges::find_if(reasons, [](const std::string& why) { return !why.empty(); });
    const bool all_have = first == reasons.end();
    decision.device = all_have ? DeviceChoice::Cuda : DeviceChoice::Cpu;
    decision.reason = all_have ? "auto: every rank has a GPU" : "auto: " + *first;
  }
  if (decision.device == DeviceChoice::Cuda) {
    agree_on(world, [&] {
      decision.has_nccl = usable_module(options).make_nccl_transport != nullptr;
      if (options.transport == TransportChoice::Nccl && !decision.has_nccl) {
        throw DeviceError("the GPU module was built without NCCL", "parallel.transport",
                          "build it where NCCL is found, or set parallel.transport = \"mpi\"");
      }
    });
  }
  return decision;
}

Machine open_machine(const Communicator& world, const RuntimeOptions& options, const DeviceDecision& decision,
                     int threads) {
  if (decision.device == DeviceChoice::Cuda) return open_gpu(world, options, decision.has_nccl);
  Machine machine;
  machine.device = std::make_unique<CpuDevice>();
  machine.backend = decision.device == DeviceChoice::Reference
                        ? make_reference_backend(*machine.device)
                        : make_cpu_backend(*machine.device, {.threads = threads});
  return machine;
}

std::unique_ptr<Transport> make_transport(const Communicator& world, const Communicator& group, const Machine& machine,
                                          Stream& stream) {
  Device& device = *machine.device;
  if (group.size() == 1) return make_self_transport(device);
  if (device.kind() == DeviceKind::Cpu) return make_mpi_transport(group);
  if (machine.transport == TransportChoice::Mpi) return make_staged_transport(group, device, stream);
  std::string id;
  agree_on(world, [&] {
    if (group.rank() == 0) id = machine.module->new_nccl_id();
  });
  id = group.broadcast(id);
  const std::chrono::seconds limit = nccl_start_limit(world.size());
  NcclStart start(world, limit, limit);
  try {
    return machine.module->make_nccl_transport(
        {.device = device,
         .backend = *machine.backend,
         .stream = stream,
         .id = id,
         .rank = group.rank(),
         .size = group.size(),
         .max_ctas = machine.nccl_max_ctas,
         .all_ready = [&start](bool is_ready) { return start.all_ready(is_ready); }});
  } catch (const std::exception&) {
    if (!start.is_over()) start.fail(error_at_hand());  // the peers still call all_ready()
    throw;
  }
}

}  // namespace rondo
