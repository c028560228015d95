// SPDX-License-Identifier: Apache-2.0
// Which files the command line names, and what each is read as: the same answer for `rondo prepare` and its --dry-run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/byte_stream.hpp"
#include "io/document_reader.hpp"

namespace rondo {

/// LeftOut: inside a folder, and no input. Refused: named by the user, or not readable; nothing is prepared then.
enum class InputUse { Read, LeftOut, Refused };

struct PlannedInput {
  std::string path;  ///< or "-"
  InputUse use = InputUse::Read;
  std::optional<InputFormat> format = std::nullopt;  ///< of Read: nothing for a pipe that was not looked into
  std::string why = {};                              ///< how it was recognised, or why it is not read
  std::string advice = {};                           ///< of Refused; may be empty
  std::string doubt = {};                            ///< of Read: a warning; mostly empty
  bool in_folder = false;                            ///< found there, not named
  bool is_pipe = false;                              ///< or a device: can be read once
  bool is_gzip = false;
  std::int64_t num_bytes = 0;  ///< on disk; 0 for a pipe
};

/// Pipes can be looked into only when it is their turn to be read: their writers may wait for one another.
enum class PipePolicy { Later, Now };

struct InputRequest {
  std::vector<std::string> inputs;  ///< files, folders, "-"
  std::string output = {};          ///< left out of folders, with its unfinished form; may be empty
  std::optional<InputFormat> format =
      std::nullopt;  ///< of every input; nothing: each as io/input_kind.hpp recognises it
  PipePolicy pipes = PipePolicy::Later;
  StopRequest stop = {};
};

/// In the order of the request; the files of a folder, which is searched through, in bytewise order of their paths. Links to
/// files are followed, links to folders are not, unless they are named. Writes nothing.
/// Throws ConfigError for a request that names nothing, or standard input twice.
std::vector<PlannedInput> plan_inputs(const InputRequest& request);

/// Decides about an open stream: format, use, why, advice and doubt of `input`.
void recognise_into(PlannedInput& input, ByteStream& stream);

/// Throws DataError for the first input that is refused, and says how many more there are.
void expect_none_refused(std::span<const PlannedInput> plan);

/// One line for what was left out of folders, and a few for doubtful inputs.
std::vector<std::string> warnings_of(std::span<const PlannedInput> plan);

}  // namespace rondo
