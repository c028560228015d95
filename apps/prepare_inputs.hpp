// SPDX-License-Identifier: Apache-2.0
// `rondo prepare --dry-run`: what each input would be read as.
#pragma once

#include "io/prepare_corpus.hpp"

namespace rondo {

/// Prints a line for each input, and counts. Reads as much of each as its recognition needs, and writes no file.
/// Throws DataError when an input is refused, as preparing would, after all are printed.
int show_inputs(const PrepareOptions& options, bool json);

}  // namespace rondo
