// SPDX-License-Identifier: Apache-2.0
// MPI_Init and MPI_Finalize as one object.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/launch.hpp"

namespace rondo {

class MpiSession {
 public:
  /// Initialises MPI (thread level funneled) and sets errors to return.
  MpiSession(int* argc, char*** argv);
  /// Calls MPI_Finalize. A rank that fails alone must call abort_all() instead, since its peers would wait here for ever.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// All ranks, numbered host by host: numbers differ from the launcher's where that distributed ranks round-robin over hosts.
  /// Rank 0 is the same. The first call is collective.
  const Communicator& world() const;
  /// Why the launcher and MPI do not match, see comm/launch.hpp; nothing if they do.
  std::optional<Error> launch_problem() const;
  /// The rank of this process in MPI_COMM_WORLD, known without communication.
  int launch_rank() const { return launch_rank_; }
  /// `watch` is called whenever a rank waits for its peers; it may throw.
  void set_watch(std::function<void()> watch) { watch_ = std::move(watch); }
  /// Ends every rank immediately with this exit code; for errors that the other ranks cannot know of.
  [[noreturn]] void abort_all(int exit_code) const noexcept;

 private:
  std::function<void()> watch_;
  std::vector<LaunchedTasks> launched_;  // read before MPI starts
  mutable Communicator world_;
  mutable bool is_ordered_ = false;
  int launch_rank_;
};

std::string host_name();

}  // namespace rondo
