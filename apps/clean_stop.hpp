// SPDX-License-Identifier: Apache-2.0
// Ends a single-process command on a signal after removing unfinished output.
#pragma once

#include <functional>
#include <string>

#include "io/byte_stream.hpp"

namespace rondo {

/// Runs body. After the first SIGINT, SIGTERM or SIGHUP, stop_if_asked() unwinds body, so that destructors run, and the signal
/// is raised again with its default action; a second one acts immediately. @returns what body returns
int run_with_clean_stop(const std::string& command, const std::function<int()>& body);
/// To be called often inside body: throws once a signal has arrived.
void stop_if_asked();
/// For waits inside body: interrupts them when a signal arrives.
StopRequest stop_request();

}  // namespace rondo
