// SPDX-License-Identifier: Apache-2.0
// The world of a test program with several ranks, and smaller groups split from it, so that one launch covers all sizes.
#pragma once

#include <memory>

#include "comm/mpi_handle.hpp"

namespace rondo::test {

/// All ranks. @pre the test was declared with RANKS, so that its main has initialised MPI
inline Communicator world() {
  auto holder = std::make_unique<MpiCommHolder>();
  holder->comm = MPI_COMM_WORLD;
  return Communicator(std::move(holder));
}

/// Calls body(group) on the first `num_ranks` ranks, as a group of their own; the others return at once. Collective.
template <typename Body> void with_ranks(int num_ranks, Body&& body) {
  const Communicator all = world();
  const bool takes_part = all.rank() < num_ranks;
  const Communicator group = all.split(takes_part ? 0 : 1);
  if (takes_part) body(group);
}

}  // namespace rondo::test
