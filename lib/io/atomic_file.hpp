// SPDX-License-Identifier: Apache-2.0
// Small files that exist in full or not at all, and the calls that make files and folders survive a power loss.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace rondo {

/// Suffix of a corpus or checkpoint that is still being written; such files are never opened for reading.
inline constexpr std::string_view kPartialSuffix = ".partial";

/// Throws DataError or CheckpointError with the path and the text of errno.
[[noreturn]] void throw_errno(ErrorKind kind, std::string_view call, const std::filesystem::path& path, int code);

/// Writes `text` to a new file and syncs it. @pre the file does not exist
void write_new_file(const std::filesystem::path& path, std::string_view text, ErrorKind kind = ErrorKind::Data);
/// Replaces `path` atomically: readers find the old text or the new one, also after a crash.
void replace_file(const std::filesystem::path& path, std::string_view text, ErrorKind kind = ErrorKind::Data);
/// Overwrites a file in place, within its allocated blocks: for a full disk, which has no room for a new file. A crash may
/// leave a mixture of both texts. @throws when `text` does not fit
void overwrite_file(const std::filesystem::path& path, std::string_view text, ErrorKind kind = ErrorKind::Data);
/// The whole file. @throws when it is longer than `most_bytes`
std::string read_file(const std::filesystem::path& path, std::size_t most_bytes, ErrorKind kind = ErrorKind::Data);

void sync_file(const std::filesystem::path& path, ErrorKind kind = ErrorKind::Data);
/// Makes the names in a folder durable: new, renamed and removed entries.
void sync_folder(const std::filesystem::path& folder, ErrorKind kind = ErrorKind::Data);

}  // namespace rondo
