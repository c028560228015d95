// SPDX-License-Identifier: Apache-2.0
// The file format of a corpus: names, version, element types, chunk sizes. docs/how-to-own-text.md describes it.
//
//   /tokenizer                   the tokenizer's JSON, complete
//   /{train,validation}/tokens   uint8, uint16 or uint32, the narrowest that holds the vocabulary
//                     /documents int64, one more than documents: first 0, ascending, last the number of tokens
//                     /names     UTF-8, each name ended by a newline;  /name_offsets as /documents
//                     /target_ranges int64, optional: first and end of each range of tokens, ascending and not touching. Only
//                     these tokens are targets; without it all are. Since version 2. Other programs may add it to a corpus of
//                     any version.
//   Each dataset NAME of a split has its digest in the split's attribute NAME_digest, which is optional for target_ranges.
//   /task                        optional: the options of the long-range task that made it, as JSON
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/hdf5_dataset.hpp"

namespace rondo {

enum class Split { Train, Validation };

inline std::string_view name_of(Split split) { return split == Split::Train ? "train" : "validation"; }

inline constexpr std::string_view kCorpusFormat = "rondo corpus";
/// The newest version that can be read. A corpus is written in the oldest version that can represent it.
inline constexpr std::int64_t kCorpusVersion = 2, kCorpusVersionWithoutTargets = 1;
/// Small, because a reader verifies whole chunks, and because a training step may not allocate blocks of 64 KiB or more,
/// including HDF5's chunk buffers.
inline constexpr std::int64_t kCorpusChunkBytes = 32 * 1024;

inline Hdf5Type token_type_of(std::int64_t vocabulary_size) {
  if (vocabulary_size <= 1 << 8) return Hdf5Type::UInt8;
  return vocabulary_size <= 1 << 16 ? Hdf5Type::UInt16 : Hdf5Type::UInt32;
}

inline std::string dataset_name(Split split, std::string_view dataset) {
  return std::string(name_of(split)) + "/" + std::string(dataset);
}

}  // namespace rondo
