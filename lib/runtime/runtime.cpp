// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime.hpp"

#include <algorithm>
#include <cpuid.h>
#include <sched.h>
#include <vector>

#include "comm/mpi_session.hpp"
#include "kernels/cpu/backend.hpp"
#include "kernels/reference/backend.hpp"

namespace rondo {

namespace {

DeviceChoice agreed_device(const Communicator& world, const RuntimeOptions& options) {
  agree_on(world, [&] { require_machine(options); });
  return options.device == DeviceChoice::Auto ? DeviceChoice::Cpu : options.device;
}

std::unique_ptr<Backend> make_backend(DeviceChoice choice, Device& device, int threads) {
  if (choice == DeviceChoice::Reference) return make_reference_backend(device);
  return make_cpu_backend(device, {.threads = threads});
}

std::unique_ptr<Transport> make_transport(const Communicator& group, Device& device) {
  return group.size() == 1 ? make_self_transport(device) : make_mpi_transport(group);
}

}  // namespace

void require_machine(const RuntimeOptions& options) {
  if (options.device == DeviceChoice::Cuda) {
    throw DeviceError("no GPU can be used: this build has no complete CUDA module", "device cuda",
                      "use the device cpu, or auto");
  }
  if (options.transport == TransportChoice::Nccl) {
    throw ConfigError("transport nccl needs parallel.device = \"cuda\"", "parallel.transport",
                      "use \"auto\" or \"mpi\"");
  }
}

Runtime::Runtime(const Communicator& world, const RuntimeOptions& options)
    : device_choice_(agreed_device(world, options)),
      threads_(options.threads > 0 ? options.threads : cores_per_rank(world)),
      grid_(world, options.ring),
      device_(std::make_unique<CpuDevice>()),
      backend_(make_backend(device_choice_, *device_, threads_)),
      compute_(device_->make_stream(StreamRole::Compute)),
      ring_transport_(make_transport(grid_.ring(), *device_)),
      world_transport_(make_transport(grid_.world(), *device_)),
      scratch_(std::make_unique<Arena>(*device_, MemoryUse::Workspace)),
      execution_{*device_, *backend_, *compute_, *scratch_, Ring{*ring_transport_, *compute_}} {
  add_progress([this] { ring_transport_->progress(); });
  compute_->set_progress([this] {
    for (const auto& hook : progress_) hook();
  });
}

Runtime::~Runtime() = default;

void Runtime::add_progress(std::function<void()> hook) { progress_.push_back(std::move(hook)); }

std::string Runtime::description() const {
  const int ranks = grid_.world().size();
  return backend_->name() + " on " + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks") + " (data " +
         std::to_string(grid_.data_size()) + " x ring " + std::to_string(grid_.ring().size()) + "), " +
         std::to_string(threads_) + (threads_ == 1 ? " thread" : " threads") + " a rank";
}

int cores_per_rank(const Communicator& world) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) CPU_SET(0, &allowed);
  // Ranks that may run on the same cores share them; a rank that was bound to cores of its own has those.
  std::string place = host_name() + ' ';
  for (int core = 0; core < CPU_SETSIZE; ++core) place += CPU_ISSET(core, &allowed) ? '1' : '0';
  const std::vector<std::string> places = world.all_gather(place);
  const auto sharers = std::count(places.begin(), places.end(), place);
  return std::max(1, CPU_COUNT(&allowed) / static_cast<int>(sharers));
}

bool cpu_has_bf16_matrix_units() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxBf16 = 1U << 22;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0;
}

}  // namespace rondo
