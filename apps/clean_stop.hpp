// SPDX-License-Identifier: Apache-2.0
// How a command of one process ends on a signal: what is unfinished is removed first.
#pragma once

#include <functional>
#include <string>

#include "io/byte_stream.hpp"

namespace rondo {

/// Runs body. The first SIGINT, SIGTERM or SIGHUP leaves it through stop_if_asked(), so that destructors run, and then takes its
/// course; a second one does at once. @returns what body returns
int run_with_clean_stop(const std::string& command, const std::function<int()>& body);
/// Inside body, often: does not return once a signal has come.
void stop_if_asked();
/// Inside body, for what waits: the same, at once.
StopRequest stop_request();

}  // namespace rondo
