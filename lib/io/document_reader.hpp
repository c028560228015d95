// SPDX-License-Identifier: Apache-2.0
// Splits an input into documents: a text, a line of JSON lines, or a record of FASTA is one document. io/input_kind.hpp decides
// which of them an input is. Streaming: only a JSON line is ever held whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "io/byte_stream.hpp"

namespace rondo {

enum class InputFormat { Text, JsonLines, Fasta };

std::string_view name_of(InputFormat format);
/// "text", "jsonl", "fasta"; nothing for "auto". Throws ConfigError naming them.
std::optional<InputFormat> input_format_from(std::string_view name);

/// Receives documents one after the other. `text` may throw InvalidInput (io/tokenizer.hpp), to which the reader adds the
/// place.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  virtual void begin(const std::string& name) = 0;
  virtual void text(std::string_view piece) = 0;
  virtual void end() = 0;
  /// Whether a text may be a list of token ids, as decimal integers separated by spaces.
  virtual bool takes_ids() const { return true; }
};

/// Reads the whole stream into the sink; a UTF-8 byte order mark at its beginning is dropped. Throws DataError with file and
/// line, or file and byte offset for text.
void read_documents(ByteStream& stream, InputFormat format, DocumentSink& sink);

void read_text(ByteStream& stream, DocumentSink& sink);
void read_json_lines(ByteStream& stream, DocumentSink& sink);
void read_fasta(ByteStream& stream, DocumentSink& sink);

}  // namespace rondo
