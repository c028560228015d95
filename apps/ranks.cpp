// SPDX-License-Identifier: Apache-2.0
#include "apps/ranks.hpp"

#include <cstdio>
#include <exception>
#include <string>

#include "io/hdf5_handle.hpp"

namespace rondo {

namespace {

int end_with(MpiSession& session, const Error& error, bool agreed, const ErrorObserver& observe) {
  session.set_watch({});  // it refers to objects of the body, which are destroyed
  const Communicator& world = session.world();
  const bool rank_alone = !agreed && world.size() > 1;
  if (observe) observe(error, rank_alone);
  if (rank_alone) {
    print_error(Error(error.kind(), error.message() + " (rank " + std::to_string(world.rank()) + ")", error.where(),
                      error.advice()));
    session.abort_all(exit_code(error.kind()));
  }
  if (world.rank() == 0) print_error(error);
  if (world.any(is_hdf5_left_open())) session.abort_all(exit_code(error.kind()));
  return exit_code(error.kind());
}

}  // namespace

int run_on_ranks(const std::function<int(MpiSession&)>& body, const ErrorObserver& observe) {
  const int rank_of_launch = rank_at_launch();  // read before MPI_Init, which sets it even without a launcher
  MpiSession session(nullptr, nullptr);
  if (const auto problem = session.launch_problem()) {
    if (rank_of_launch == 0) print_error(*problem);  // each task is rank 0 of its own world, and only one reports
    return exit_code(problem->kind());
  }
  try {
    return body(session);
  } catch (const AgreedError& error) {
    return end_with(session, error, true, observe);
  } catch (const std::exception&) {
    return end_with(session, error_at_hand(), false, observe);
  }
}

void print_error(const Error& error) {
  std::fprintf(stderr, "rondo: %s error: %s\n", std::string(name_of(error.kind())).c_str(), error.what());
}

}  // namespace rondo
