// SPDX-License-Identifier: Apache-2.0
#include "io/document_reader.hpp"

#include "core/error.hpp"
#include "io/input_kind.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

std::string_view name_of(InputFormat format) {
  switch (format) {
    case InputFormat::Text: return "text";
    case InputFormat::JsonLines: return "jsonl";
    case InputFormat::Fasta: return "fasta";
  }
  return "text";
}

std::optional<InputFormat> input_format_from(std::string_view name) {
  if (name == "auto") return std::nullopt;
  for (InputFormat format : {InputFormat::Text, InputFormat::JsonLines, InputFormat::Fasta}) {
    if (name == name_of(format)) return format;
  }
  throw ConfigError("unknown input format \"" + std::string(name) + "\"", "--format",
                    "known: auto, text, jsonl, fasta");
}

void read_documents(ByteStream& stream, InputFormat format, DocumentSink& sink) {
  stream.consume(byte_order_mark_bytes(stream));
  switch (format) {
    case InputFormat::Text: return read_text(stream, sink);
    case InputFormat::JsonLines: return read_json_lines(stream, sink);
    case InputFormat::Fasta: return read_fasta(stream, sink);
  }
}

void read_text(ByteStream& stream, DocumentSink& sink) {
  sink.begin(stream.name());
  try {
    for (std::string_view block = stream.block(); !block.empty(); block = stream.block()) {
      sink.text(block);
      stream.consume(block.size());
    }
    sink.end();
  } catch (const InvalidInput& invalid) {
    const std::int64_t byte = stream.position() + static_cast<std::int64_t>(invalid.byte_in_piece);
    throw DataError(invalid.message, stream.name() + ": byte " + std::to_string(byte));
  }
}

}  // namespace rondo
