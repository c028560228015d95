// SPDX-License-Identifier: Apache-2.0
#include "io/document_reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;
constexpr std::size_t kSniffBytes = std::size_t{1} << 16;

bool is_json_document(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  return json.is_object() && json.contains("text");
}

InputFormat detect_by_content(std::string_view head) {
  const std::size_t newline = head.find('\n');
  const std::string_view first = head.substr(0, newline);
  if (first.starts_with('{') && newline != std::string_view::npos && is_json_document(first))
    return InputFormat::JsonLines;
  if (!first.starts_with('>') || newline == std::string_view::npos) return InputFormat::Text;
  std::string_view second = head.substr(newline + 1, head.find('\n', newline + 1) - newline - 1);
  if (second.ends_with('\r')) second.remove_suffix(1);
  const bool only_letters = !second.empty() && std::all_of(second.begin(), second.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '*' || c == '-';
  });
  return only_letters ? InputFormat::Fasta : InputFormat::Text;
}

void list_folder(const std::string& folder, const fs::path& output, std::vector<std::string>& files) {
  std::error_code failure;
  std::vector<std::string> found;
  const auto options = fs::directory_options::none;  // links to folders are not followed: they may form a circle
  for (fs::recursive_directory_iterator at(folder, options, failure), end; !failure && at != end;
       at.increment(failure)) {
    if (!at->is_regular_file() || at->path().extension() == ".partial") continue;
    std::error_code missing;
    if (fs::equivalent(at->path(), output, missing)) continue;
    found.push_back(at->path().string());
  }
  if (failure) throw DataError("cannot be listed: " + failure.message(), folder);
  if (found.empty()) throw DataError("the folder has no files", folder);
  std::sort(found.begin(), found.end());  // char_traits compares as unsigned bytes
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

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

InputFormat detect_format(const std::string& path, ByteStream& stream) {
  fs::path name(path);
  if (name.extension() == ".gz") name = name.stem();
  const std::string extension = name.extension().string();
  constexpr std::array<std::string_view, 2> kJsonLines{".jsonl", ".ndjson"};
  constexpr std::array<std::string_view, 6> kFasta{".fa", ".fasta", ".fna", ".ffn", ".faa", ".fas"};
  constexpr std::array<std::string_view, 2> kText{".txt", ".text"};
  const auto is_in = [&extension](const auto& list) {
    return std::find(list.begin(), list.end(), extension) != list.end();
  };
  if (is_in(kJsonLines)) return InputFormat::JsonLines;
  if (is_in(kFasta)) return InputFormat::Fasta;
  if (is_in(kText)) return InputFormat::Text;
  return detect_by_content(stream.look_ahead(kSniffBytes));
}

void read_documents(ByteStream& stream, InputFormat format, DocumentSink& sink) {
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

std::vector<std::string> list_input_files(const std::vector<std::string>& inputs, const std::string& output) {
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    std::error_code failure;
    if (input == "-") {
      files.push_back(input);
    } else if (const fs::file_status status = fs::status(input, failure); fs::is_directory(status)) {
      list_folder(input, output, files);
    } else if (fs::exists(status)) {
      std::error_code missing;
      if (fs::equivalent(input, output, missing))
        throw DataError("is input and output at once", input, "write to another --output");
      files.push_back(input);
    } else {
      throw DataError("no such file or folder", input);
    }
  }
  if (std::count(files.begin(), files.end(), "-") > 1) throw ConfigError("standard input can be read only once", "-");
  return files;
}

}  // namespace rondo
