// SPDX-License-Identifier: Apache-2.0
// How a command that runs over several ranks ends: in the same way on all ranks after an agreed error, immediately after an
// error of one rank alone.
#pragma once

#include <functional>

#include "comm/mpi_session.hpp"
#include "core/error.hpp"

namespace rondo {

/// Called with an error before the ranks end; `rank_alone`: the other ranks do not know about it.
using ErrorObserver = std::function<void(const Error& error, bool rank_alone)>;

/// Starts MPI, runs body(session) and @returns its exit code, or that of its error. Rank 0 prints an error that all ranks agree
/// on; an error of one rank is printed by that rank, and ends all other ranks too.
int run_on_ranks(const std::function<int(MpiSession&)>& body, const ErrorObserver& observe = {});

void print_error(const Error& error);

}  // namespace rondo
