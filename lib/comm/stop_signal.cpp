// SPDX-License-Identifier: Apache-2.0
#include "comm/stop_signal.hpp"

#include <array>
#include <csignal>
#include <vector>

#include "comm/mpi_handle.hpp"

namespace rondo {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::array<int, 4> kSignals{SIGTERM, SIGINT, SIGUSR1, SIGUSR2};

// The only state that the signal handler changes.
volatile std::sig_atomic_t received_signal = 0;

void remember_signal(int signal) {
  if (received_signal == 0 || signal == SIGTERM) received_signal = signal;
}

}  // namespace

struct StopSignal::State {
  MPI_Comm comm = MPI_COMM_NULL;  // null for a world of one rank
  int rank = 0, size = 1;
  std::array<struct sigaction, kSignals.size()> old_actions{};
  bool told_by_peer = false, announced = false, all_answered = false;
  Clock::time_point announced_at;
  std::chrono::seconds answer_time = kPromptAnswer;
  MPI_Request news = MPI_REQUEST_NULL, answers = MPI_REQUEST_NULL;
  std::vector<MPI_Request> announcements;

  // Notifies every peer and starts a barrier, which completes only if all peers are alive and notified.
  void announce() {
    announced = true;
    announced_at = Clock::now();
    if (comm == MPI_COMM_NULL) return;
    for (int peer = 0; peer < size; ++peer) {
      if (peer == rank) continue;
      check_mpi(MPI_Isend(nullptr, 0, MPI_BYTE, peer, 0, comm, &announcements.emplace_back()), "MPI_Isend");
    }
    check_mpi(MPI_Ibarrier(comm, &answers), "MPI_Ibarrier");
  }
};

StopSignal::StopSignal(const Communicator& world) : state_(std::make_unique<State>()) {
  received_signal = 0;
  state_->rank = world.rank();
  state_->size = world.size();
  if (world.size() > 1) {
    check_mpi(MPI_Comm_dup(mpi_comm_of(world), &state_->comm), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(state_->comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Irecv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, 0, state_->comm, &state_->news), "MPI_Irecv");
  }
  struct sigaction action {};
  action.sa_handler = remember_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &state_->old_actions[i]);
}

StopSignal::~StopSignal() {
  State& s = *state_;
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &s.old_actions[i], nullptr);
  if (s.comm == MPI_COMM_NULL) return;
  if (s.news != MPI_REQUEST_NULL) {
    MPI_Cancel(&s.news);
    MPI_Request_free(&s.news);
  }
  // Announcements have no bytes and are already sent. If answers are outstanding, MPI_Finalize frees the communicator.
  for (MPI_Request& request : s.announcements) {
    if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }
  if (!s.announced || s.all_answered) MPI_Comm_free(&s.comm);
}

bool StopSignal::requested() const { return received_signal != 0 || state_->told_by_peer; }

std::string_view StopSignal::name() const {
  switch (received_signal) {
    case SIGTERM: return "SIGTERM";
    case SIGINT: return "SIGINT";
    case SIGUSR1: return "SIGUSR1";
    case SIGUSR2: return "SIGUSR2";
    default: return state_->told_by_peer ? "a signal to another rank" : "";
  }
}

void StopSignal::set_answer_time(std::chrono::seconds limit) {
  if (limit == state_->answer_time) return;
  state_->answer_time = limit;
  state_->announced_at = Clock::now();
}

void StopSignal::poll() {
  State& s = *state_;
  if (s.news != MPI_REQUEST_NULL) {
    int arrived = 0;
    check_mpi(MPI_Test(&s.news, &arrived, MPI_STATUS_IGNORE), "MPI_Test");
    if (arrived != 0) s.told_by_peer = true;
  }
  if (!requested()) return;
  if (!s.announced) s.announce();
  if (s.all_answered || s.comm == MPI_COMM_NULL) return;
  int done = 0;
  check_mpi(MPI_Test(&s.answers, &done, MPI_STATUS_IGNORE), "MPI_Test");
  s.all_answered = done != 0;
  const bool urgent = received_signal == SIGTERM || received_signal == SIGINT;
  if (!s.all_answered && urgent && Clock::now() - s.announced_at > s.answer_time) {
    throw CommError("a peer is lost: it did not answer within " + std::to_string(s.answer_time.count()) + " s after " +
                        std::string(name()),
                    "", "look for the first error in the other ranks' output, and start the same command again");
  }
}

}  // namespace rondo
