// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 as one wish to stop, told to all ranks at once, and the early news of
// a lost peer: mpirun sends SIGTERM both when the user ends a run and when another rank has died.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "comm/communicator.hpp"

namespace rondo {

class StopSignal {
 public:
  /// Installs the handlers. Collective.
  explicit StopSignal(const Communicator& world);
  /// Restores the handlers. After a stop that all ranks agreed on, collective.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Has this rank been signalled, or been told that another was? When to act is agreed elsewhere, once a
  /// step.
  bool requested() const;
  /// "SIGTERM", ...; "a signal to another rank"; or "" when none came.
  std::string_view name() const;
  /// Moves the news; called between tiles and in every wait for peers. Throws CommError when SIGTERM or
  /// SIGINT came and the peers have not answered in time: then at least one of them is gone.
  void poll();
  /// How long the peers have from now on: kPromptAnswer, or longer while they may be busy with a disk.
  void set_answer_time(std::chrono::seconds limit);

  static constexpr std::chrono::seconds kPromptAnswer{1}, kAnswerInSave{30};

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rondo
