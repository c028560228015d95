// SPDX-License-Identifier: Apache-2.0
// The small records of a run folder: how a run ended (exit.json), what its last start computes with (start.json), and its
// current step (heartbeat). Only this file writes and reads them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rondo {

/// How a run ended, as written to exit.json.
struct ExitRecord {
  std::string cause;  ///< "running", "finished", "stopped", "stalled", or the kind of the error
  int exit_code = 0;
  int rank = 0;
  std::string host;
  std::int64_t step = 0;  ///< the last completed step
  std::string phase;      ///< "start", "training", "evaluation", "save"
  std::string message, advice;
  bool retry = false;  ///< whether the same command line would resume the run
  std::int64_t time_unix_s = 0;

  std::string to_json() const;
  /// @throws DataError that names `where`, also for a newer version
  static ExitRecord from_json(const std::string& text, const std::string& where);
};

/// What a start computes with, as written to start.json.
struct StartRecord {
  std::string machine;                 ///< device, transport, ranks and threads in one line
  bool deterministic = true;           ///< the resolved train.deterministic
  std::vector<std::string> gpus;       ///< which rank computes on which GPU, one line per host
  std::vector<std::string> attention;  ///< kernels with the reason for the choice, one line each
  std::int64_t time_unix_s = 0;

  std::string to_json() const;
  /// As ExitRecord::from_json().
  static StartRecord from_json(const std::string& text, const std::string& where);
};

/// The progress of a run, as written to heartbeat after every step.
struct HeartbeatRecord {
  std::int64_t step = 0;
  std::int64_t process = 0;  ///< rank 0's process id on its host
  std::int64_t time_unix_s = 0;

  std::string to_json() const;
  /// As ExitRecord::from_json().
  static HeartbeatRecord from_json(const std::string& text, const std::string& where);
};

}  // namespace rondo
