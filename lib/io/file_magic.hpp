// SPDX-License-Identifier: Apache-2.0
// Recognises files that are not text by their first bytes ("magic numbers"), with the command that converts each to an input.
#pragma once

#include <cstddef>
#include <string_view>

namespace rondo {

struct FileMagic {
  std::size_t offset;        ///< offset of `bytes` in the file
  std::string_view bytes;    ///< what every such file has there
  std::string_view what;     ///< "a zip archive"
  std::string_view command;  ///< to be called with the file's name, or its bytes in a pipe; empty: there is none
};

/// How many bytes of a file find_file_magic() needs.
inline constexpr std::size_t kMagicBytes = 512;

/// @returns the kind of file that begins with these bytes; nullptr if it is not known
const FileMagic* find_file_magic(std::string_view head);

}  // namespace rondo
