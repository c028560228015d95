// SPDX-License-Identifier: Apache-2.0
// A rank's trace as a file for Perfetto and chrome://tracing: one JSON object, whose "traceEvents" are complete events with
// times in microseconds since the epoch, so that the files of several ranks share one time axis.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/trace.hpp"

namespace rondo {

/// Writes the whole file, with a track for each entry that has events. @throws DataError when it cannot be written
void write_trace_file(const std::filesystem::path& path, int rank, const std::string& host,
                      const std::vector<TraceTrack>& tracks);

}  // namespace rondo
