// SPDX-License-Identifier: Apache-2.0
// Access to the MPI communicator for the two places that need it: comm itself and parallel HDF5 in io.
#pragma once

#include <functional>
#include <mpi.h>
#include <source_location>
#include <string_view>

#include "comm/communicator.hpp"

namespace rondo {

struct MpiCommHolder {
  MPI_Comm comm = MPI_COMM_NULL;
  bool owned = false;
  const std::function<void()>* watch = nullptr;  // called while waiting for peers; owned by the session
  ~MpiCommHolder();
};

/// @returns MPI_COMM_NULL for a world without MPI; the caller then provides the semantics of MPI_COMM_SELF
inline MPI_Comm mpi_comm_of(const Communicator& communicator) {
  return communicator.holder() == nullptr ? MPI_COMM_NULL : communicator.holder()->comm;
}

/// Throws CommError with MPI's own text if a call failed.
void check_mpi(int status, std::string_view call, std::source_location caller = std::source_location::current());

/// Waits for all requests and calls `watch` meanwhile, which may throw to end a wait for a dead peer.
void wait_for_all(std::span<MPI_Request> requests, const std::function<void()>* watch);

}  // namespace rondo
