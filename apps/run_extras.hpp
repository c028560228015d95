// SPDX-License-Identifier: Apache-2.0
// What a training run may do beside training: check the ring first, show the step at hand on a terminal, keep a trace.
#pragma once

#include <filesystem>
#include <string>

#include "config/run_config.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Collective: compares ring attention over these ranks with the reference. Throws AgreedError when they differ.
void self_check(Runtime& runtime, const RunConfig& config);

/// One line on stderr that is rewritten in place, cut to the terminal's width; nothing where stderr is no terminal, since
/// batch logs have the step lines. Log lines take its place (core/log.cpp).
class LiveLine {
 public:
  LiveLine();
  ~LiveLine();
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  void show(const std::string& text) const;

 private:
  bool is_terminal_;
};

/// Writes the phases kept so far, if any, to trace/rank-N.json in the run's folder.
void write_trace(const std::filesystem::path& run, int rank);

}  // namespace rondo
