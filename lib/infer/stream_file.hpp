// SPDX-License-Identifier: Apache-2.0
// The state after a text in an HDF5 file: the same model can resume generation from it without the text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "infer/sequence_stream.hpp"
#include "io/output_file.hpp"

namespace rondo {

class StreamFile {
 public:
  /// What the file holds beside the state.
  struct Record {
    std::string model_digest;     // StoredModelInfo::model_digest
    std::int64_t num_tokens = 0;  // of the text
    std::int64_t num_drawn = 0;   // those drawn by a generator; its next draw uses this random number of the seed
  };

  static OutputKind kind();
  /// An upper bound of the bytes that write() takes.
  static std::int64_t num_bytes(const SequenceStream& stream);
  /// Writes the output and commits it: the file appears in full or not at all. @pre stream.num_tokens() > 0. Throws DataError.
  static void write(OutputFile& output, const SequenceStream& stream, const std::string& model_digest,
                    std::int64_t num_drawn);
  /// Throws DataError, and leaves the stream empty, for a file that is damaged, of another version or of another model.
  static Record read(const std::filesystem::path& path, const std::string& model_digest, SequenceStream& stream);
  /// The record without the state. Throws DataError as read() does.
  static Record read_record(const std::filesystem::path& path, const std::string& model_digest);
};

}  // namespace rondo
