// SPDX-License-Identifier: Apache-2.0
// How a command runs over MPI: all ranks start, run and end together, and an error ends all of them with one
// exit code.
#pragma once

#include <functional>

#include "comm/mpi_session.hpp"

namespace rondo {

/// Starts MPI and runs `body` on every rank. An AgreedError leaves on rank 0 only, the others return its exit
/// code; any other error is local, so it is printed and ends all ranks at once.
/// @returns the exit code
int run_over_mpi(const std::function<void(const MpiSession&)>& body);

}  // namespace rondo
