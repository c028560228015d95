// SPDX-License-Identifier: Apache-2.0
// An Execution for tests: one device, the reference backend by default, and a ring of all ranks of a group.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "comm/transport.hpp"
#include "core/arena.hpp"
#include "kernels/reference/backend.hpp"
#include "runtime/execution.hpp"

namespace rondo::test {

class TestExecution {
 public:
  using BackendMaker = std::function<std::unique_ptr<Backend>(Device&)>;

  explicit TestExecution(const Communicator& group, const BackendMaker& make_backend = make_reference_backend)
      : backend_(make_backend(device_)),
        transport_(group.size() == 1 ? make_self_transport(device_) : make_mpi_transport(group)) {
    compute_->set_progress([this] { transport_->progress(); });
  }

  Execution& get() { return execution_; }
  Device& device() { return device_; }

 private:
  CpuDevice device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> compute_ = device_.make_stream(StreamRole::Compute);
  Arena scratch_{device_, MemoryUse::Workspace};
  std::unique_ptr<Transport> transport_;
  Execution execution_{device_, *backend_, *compute_, scratch_, Ring{*transport_, *compute_}};
};

}  // namespace rondo::test
