// SPDX-License-Identifier: Apache-2.0
// [data]: the corpus, and the sequences that are read from it.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

struct DataConfig {
  std::string corpus;
  std::int64_t sequence_length = 0;  // tokens of one whole sequence, over all ranks of its ring
  bool isolate_documents = true;
  bool whole_documents = false;  // no document is split across sequences

  bool operator==(const DataConfig&) const = default;
};

}  // namespace rondo
