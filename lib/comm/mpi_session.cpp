// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_session.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <unistd.h>

#include "comm/host_order.hpp"
#include "comm/mpi_handle.hpp"
#include "core/log.hpp"

namespace rondo {

namespace {

Communicator initialised_world(int* argc, char*** argv, const std::function<void()>* watch) {
  int provided = 0;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  auto holder = std::make_unique<MpiCommHolder>();
  holder->comm = MPI_COMM_WORLD;
  holder->watch = watch;
  return Communicator(std::move(holder));
}

std::string text_of(std::span<const int> numbers) {
  std::string text;
  for (const int number : numbers) text += (text.empty() ? "" : " ") + std::to_string(number);
  return text;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv)
    : launched_(launched_tasks()), world_(initialised_world(argc, argv, &watch_)), launch_rank_(world_.rank()) {
  log::set_rank(world_.rank(), world_.size());
}

std::optional<Error> MpiSession::launch_problem() const { return rondo::launch_problem(launched_, world_.size()); }

const Communicator& MpiSession::world() const {
  if (std::exchange(is_ordered_, true)) return world_;
  const std::vector<int> order = host_by_host(world_.all_gather(host_name()));
  if (std::ranges::is_sorted(order)) return world_;
  world_ = world_.reordered(order);
  log::set_rank(world_.rank(), world_.size());
  log::info("ranks are numbered host by host; the launcher's numbers: {}", text_of(order));
  return world_;
}

MpiSession::~MpiSession() {
  world_ = Communicator::self();  // frees its communicator before MPI_Finalize
  MPI_Finalize();
}

void MpiSession::abort_all(int exit_code) const noexcept {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace rondo
