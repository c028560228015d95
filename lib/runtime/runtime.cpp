// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime.hpp"

#include <algorithm>
#include <sched.h>
#include <vector>

#include "comm/mpi_session.hpp"
#include "kernels/cpu/isa.hpp"

namespace rondo {

namespace {

DeviceDecision agreed_device(const Communicator& world, const RuntimeOptions& options) {
  agree_on(world, [&] { require_transport(options); });
  return choose_device(world, options);
}

}  // namespace

Runtime::Runtime(const Communicator& world, const RuntimeOptions& options)
    : decision_(agreed_device(world, options)),
      threads_(options.threads > 0 ? options.threads : cores_per_rank(world)),
      grid_(world, options.ring),
      machine_(open_machine(world, options, decision_, threads_)),
      compute_(machine_.device->make_stream(StreamRole::Compute)),
      ring_stream_(machine_.device->make_stream(StreamRole::Ring)),
      reduce_stream_(machine_.device->make_stream(StreamRole::Reduce)),
      ring_transport_(make_transport(world, grid_.ring(), machine_, *ring_stream_)),
      world_transport_(make_transport(world, grid_.world(), machine_, *reduce_stream_)),
      scratch_(std::make_unique<Arena>(*machine_.device, MemoryUse::Workspace)),
      execution_{*machine_.device, *machine_.backend, *compute_, *scratch_, Ring{*ring_transport_, *ring_stream_}} {
  add_progress([this] { ring_transport_->progress(); });
  if (machine_.module != nullptr) add_progress([this] { world_transport_->progress(); });  // it may find errors of NCCL
  compute_->set_progress([this] {
    for (const auto& hook : progress_) hook();
  });
}

Runtime::~Runtime() = default;

void Runtime::add_progress(std::function<void()> hook) { progress_.push_back(std::move(hook)); }

std::string Runtime::description() const {
  const int ranks = grid_.world().size();
  std::string between;
  if (!machine_.map.empty() && ranks > 1) {
    between = machine_.transport == TransportChoice::Nccl ? ", NCCL between GPUs" : ", MPI between GPUs";
  }
  return machine_.backend->name() + " on " + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks") + " (data " +
         std::to_string(grid_.data_size()) + " x ring " + std::to_string(grid_.ring().size()) + "), " +
         std::to_string(threads_) + (threads_ == 1 ? " thread" : " threads") + " per rank" + between +
         (decision_.reason.empty() ? "" : "; " + decision_.reason);
}

int cores_per_rank(const Communicator& world) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) CPU_SET(0, &allowed);
  // Ranks that may run on the same cores divide them; a rank bound to its own cores has all of those.
  std::string place = host_name() + ' ';
  for (int core = 0; core < CPU_SETSIZE; ++core) place += CPU_ISSET(core, &allowed) ? '1' : '0';
  const std::vector<std::string> places = world.all_gather(place);
  const auto sharers = std::count(places.begin(), places.end(), place);
  return std::max(1, CPU_COUNT(&allowed) / static_cast<int>(sharers));
}

bool cpu_has_bf16_matrix_units() { return cpu::best_isa() == cpu::Isa::Amx; }

}  // namespace rondo
