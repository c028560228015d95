// SPDX-License-Identifier: Apache-2.0
// Decides what kind of input this is, from its name and bytes, in whatever pieces they arrive.
#pragma once

#include <string>

#include "io/byte_stream.hpp"

namespace rondo {

/// Binary: not text, and of an unknown kind. Foreign: of a known kind that cannot be read.
enum class InputKind { Text, JsonLines, Fasta, Binary, Foreign };

struct Recognition {
  InputKind kind = InputKind::Text;
  std::string why = {};     ///< a clause, as "the first line is a JSON object with the member text"
  std::string advice = {};  ///< if Foreign: the command that converts it to an input; may be empty
  std::string doubt = {};   ///< if Text: what else it may be, for a warning; usually empty
};

/// Looks ahead as far as necessary and consumes nothing. In this order: known magic numbers, the extensions .jsonl and .ndjson
/// and those of FASTA (a .gz after them is ignored), JSON lines by the first two lines, FASTA by the first record, binary by a
/// NUL byte; everything else is text. data/README.md has the table.
/// Throws DataError for a first line of more than 1 GiB that leaves the format undecided.
Recognition recognise_input(ByteStream& stream);

/// The length of the UTF-8 byte order mark that the stream begins with: 3 or 0. It is not part of a document.
std::size_t byte_order_mark_bytes(ByteStream& stream);

}  // namespace rondo
