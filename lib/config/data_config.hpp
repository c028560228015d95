// SPDX-License-Identifier: Apache-2.0
// [data]: what is read, and in pieces of which length.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

struct DataConfig {
  std::string corpus;
  std::int64_t sequence_length = 0;  // tokens of one whole sequence, over all ranks of its ring
  bool isolate_documents = true;
  bool whole_documents = false;  // no document is cut by the end of a sequence

  bool operator==(const DataConfig&) const = default;
};

}  // namespace rondo
