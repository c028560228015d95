// SPDX-License-Identifier: Apache-2.0
// What writer and reader of a corpus agree on: names, version, element types, chunk sizes.
// docs/how-to-own-text.md shows it.
//
//   /tokenizer                   the tokenizer's JSON, complete
//   /{train,validation}/tokens   uint8, uint16 or uint32, the narrowest that holds the vocabulary
//                     /documents int64, one more than documents: first 0, ascending, last the number of
//                     tokens /names     UTF-8, each name ended by a newline;  /name_offsets as /documents
//                     /target_ranges int64, optional: first and end of one range of tokens after the other, ascending and
//                     apart. Only these tokens are targets; without it all are. From version 2 on. Other programs may add it,
//                     to a corpus of any version.
//   Each dataset NAME of a part has its digest in the part's attribute NAME_digest; target_ranges may go without.
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
/// The newest that is read. A corpus is written in the oldest version that can say what it holds.
inline constexpr std::int64_t kCorpusVersion = 2, kCorpusVersionWithoutTargets = 1;
/// Small, because a reader verifies whole chunks, and because a training step may allocate no block of 64 KiB
/// or more, HDF5's chunk buffers included.
inline constexpr std::int64_t kCorpusChunkBytes = 32 * 1024;

inline Hdf5Type token_type_of(std::int64_t vocabulary_size) {
  if (vocabulary_size <= 1 << 8) return Hdf5Type::UInt8;
  return vocabulary_size <= 1 << 16 ? Hdf5Type::UInt16 : Hdf5Type::UInt32;
}

inline std::string dataset_name(Split split, std::string_view dataset) {
  return std::string(name_of(split)) + "/" + std::string(dataset);
}

}  // namespace rondo
