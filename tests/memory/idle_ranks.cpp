// SPDX-License-Identifier: Apache-2.0
// Ranks that do nothing, to measure the memory that MPI and the program's libraries take before training. Prints, on rank 0,
// the peak resident bytes of the largest rank.
#include <cstdio>

#include "comm/mpi_session.hpp"
#include "train/peak_memory.hpp"

int main(int argc, char** argv) {
  const rondo::MpiSession session(&argc, &argv);
  session.world().barrier();
  const rondo::PeakMemory idle = largest_of_ranks(session.world(), peak_memory_of(rondo::MemoryLedger()));
  if (session.world().rank() == 0) std::printf("%lld\n", static_cast<long long>(idle.resident_bytes));
  return 0;
}
