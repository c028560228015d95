// SPDX-License-Identifier: Apache-2.0
// Files that are no text, by their first bytes ("magic numbers"), and the command that turns each into one that is read.
#pragma once

#include <cstddef>
#include <string_view>

namespace rondo {

struct FileMagic {
  std::size_t offset;        ///< of `bytes` in the file
  std::string_view bytes;    ///< what every such file has there
  std::string_view what;     ///< "a zip archive"
  std::string_view command;  ///< takes the file's name, or its bytes in a pipe; empty: there is none
};

/// How much of a file find_file_magic() looks at.
inline constexpr std::size_t kMagicBytes = 512;

/// @returns the kind that these first bytes of a file tell; nullptr for none that is known
const FileMagic* find_file_magic(std::string_view head);

}  // namespace rondo
