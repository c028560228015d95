// SPDX-License-Identifier: Apache-2.0
// `rondo prepare --dry-run`: how each input would be read.
#pragma once

#include "io/prepare_corpus.hpp"

namespace rondo {

/// Prints a line per input, and counts. Reads only as much of each as its recognition needs, and writes no files.
/// Throws DataError after printing all inputs if one is refused, as preparation would.
int show_inputs(const PrepareOptions& options, bool json);

}  // namespace rondo
