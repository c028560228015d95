// SPDX-License-Identifier: Apache-2.0
// A rank that is killed between MPI_Init and the first collective.
#include <csignal>
#include <mpi.h>

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  return std::raise(SIGKILL);
}
