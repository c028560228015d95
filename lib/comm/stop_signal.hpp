// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 as one request to stop, announced to all ranks at once. It also detects a lost peer
// early: mpirun sends SIGTERM both when the user ends a run and when another rank has died.
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
  /// Restores the handlers. Collective after a stop that all ranks agreed on.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Whether this rank was signalled, or another rank announced a signal. When to act is agreed elsewhere, once per step.
  bool requested() const;
  /// "SIGTERM", ...; "a signal to another rank"; or "" when none came.
  std::string_view name() const;
  /// Sends and receives announcements; called between tiles and in every wait for peers. Throws CommError after SIGTERM or
  /// SIGINT if the peers have not answered in time: at least one of them is then lost.
  void poll();
  /// Sets how long the peers have to answer: kPromptAnswer, or longer while they may be busy with a disk.
  void set_answer_time(std::chrono::seconds limit);

  static constexpr std::chrono::seconds kPromptAnswer{1}, kAnswerInSave{30};

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rondo
