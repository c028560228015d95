// SPDX-License-Identifier: Apache-2.0
// How a command that runs over several ranks ends: alike on all ranks after an error that they agreed on, at once after an
// error of one rank alone.
#pragma once

#include <functional>

#include "comm/mpi_session.hpp"
#include "core/error.hpp"

namespace rondo {

/// Told of an error before the ranks end; `rank_alone`: the other ranks do not know of it.
using ErrorObserver = std::function<void(const Error& error, bool rank_alone)>;

/// Starts MPI, runs body(session) and @returns its exit code, or that of its error. An error that all ranks share is
/// printed by rank 0; an error of one rank is printed by that rank, and ends all others too.
int run_on_ranks(const std::function<int(MpiSession&)>& body, const ErrorObserver& observe = {});

void print_error(const Error& error);

}  // namespace rondo
