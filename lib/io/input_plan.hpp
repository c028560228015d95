// SPDX-License-Identifier: Apache-2.0
// Which files the command line names, and how each will be read: the same for `rondo prepare` and its --dry-run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/byte_stream.hpp"
#include "io/document_reader.hpp"

namespace rondo {

/// LeftOut: found in a folder, and not an input. Refused: cannot be an input although the user named it, or cannot be read;
/// nothing is prepared then.
enum class InputUse { Read, LeftOut, Refused };

struct PlannedInput {
  std::string path;  ///< or "-"
  InputUse use = InputUse::Read;
  std::optional<InputFormat> format = std::nullopt;  ///< if Read: nothing for a pipe that was not inspected
  std::string why = {};                              ///< how it was recognised, or why it is not read
  std::string advice = {};                           ///< if Refused; may be empty
  std::string doubt = {};                            ///< if Read: a warning; usually empty
  bool in_folder = false;                            ///< found in a folder, not named
  bool is_pipe = false;                              ///< or a device: can be read only once
  bool is_gzip = false;
  std::int64_t num_bytes = 0;  ///< on disk; 0 for a pipe
};

/// Pipes can be inspected only when they are about to be read, since their writers may wait for one another.
enum class PipePolicy { Later, Now };

struct InputRequest {
  std::vector<std::string> inputs;  ///< files, folders, "-"
  std::string output = {};          ///< skipped in folders, as is its unfinished form; may be empty
  std::optional<InputFormat> format =
      std::nullopt;  ///< the format of every input; nothing: each as io/input_kind.hpp recognises it
  PipePolicy pipes = PipePolicy::Later;
  StopRequest stop = {};
};

/// Inputs in the order of the request; a folder is searched recursively, its files in bytewise order of their paths. Links to
/// files are followed, links to folders only if they are named. Writes nothing.
/// Throws ConfigError for a request that names nothing, or standard input twice.
std::vector<PlannedInput> plan_inputs(const InputRequest& request);

/// Sets format, use, why, advice and doubt of `input` from an open stream.
void recognise_into(PlannedInput& input, ByteStream& stream);

/// Throws DataError for the first refused input, with the number of further ones.
void expect_none_refused(std::span<const PlannedInput> plan);

/// One line for what was skipped in folders, and a few for doubtful inputs.
std::vector<std::string> warnings_of(std::span<const PlannedInput> plan);

}  // namespace rondo
