// SPDX-License-Identifier: Apache-2.0
// `rondo prepare --task`: makes a corpus of a long-range task.
#pragma once

#include "io/prepare_task_corpus.hpp"

namespace rondo {

/// Writes the corpus, with progress on stderr, and prints what it holds. @returns the exit code
int prepare_task(const TaskCorpusOptions& options, bool json);

}  // namespace rondo
