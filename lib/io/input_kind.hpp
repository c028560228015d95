// SPDX-License-Identifier: Apache-2.0
// What an input is: decided here only, from its bytes, in whatever way and in whatever pieces they arrive.
#pragma once

#include <string>

#include "io/byte_stream.hpp"

namespace rondo {

/// Binary: no text, and of no kind that is known. Foreign: of a kind that is known and not read.
enum class InputKind { Text, JsonLines, Fasta, Binary, Foreign };

struct Recognition {
  InputKind kind = InputKind::Text;
  std::string why = {};     ///< a clause, as "the first line is a JSON object with the member text"
  std::string advice = {};  ///< of Foreign: the command that turns it into an input; may be empty
  std::string doubt = {};   ///< of Text: what else it may be, to warn of; mostly empty
};

/// Looks ahead as far as the decision needs and consumes nothing. In this order: known magic numbers, the endings .jsonl and
/// .ndjson and those of FASTA (.gz is looked through), JSON lines by the first two lines, FASTA by the first record, binary
/// by a NUL byte; everything else is text. data/README.md has the table.
/// Throws DataError for a first line of more than 1 GiB that may be one or the other.
Recognition recognise_input(ByteStream& stream);

/// The length of the UTF-8 byte order mark that the stream begins with: 3 or 0. It is a signature and no part of a document.
std::size_t byte_order_mark_bytes(ByteStream& stream);

}  // namespace rondo
