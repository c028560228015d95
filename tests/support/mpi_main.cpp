// SPDX-License-Identifier: Apache-2.0
// The main of every test program that runs over several ranks: all ranks run the same tests and exit with the same status.
#include <gtest/gtest.h>
#include <mpi.h>

#include "tests/support/rank_listener.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
// Checks for leaks while Open MPI's plugins are still loaded: later their own leaks have no name to suppress them by.
static void check_leaks() { __lsan_do_leak_check(); }
#else
static void check_leaks() {}
#endif

int main(int argc, char** argv) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  testing::InitGoogleTest(&argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);

  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  auto* ranks = new rondo::test::RankListener(MPI_COMM_WORLD);  // GoogleTest deletes it
  listeners.Append(ranks);
  const int status = RUN_ALL_TESTS() != 0 || ranks->any_rank_failed() ? 1 : 0;
  int worst = status;
  MPI_Allreduce(&status, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  check_leaks();
  MPI_Finalize();
  return worst;
}
