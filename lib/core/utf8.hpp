// SPDX-License-Identifier: Apache-2.0
// Text that is shown to people or written as JSON is UTF-8, whatever a damaged file or a file name holds.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rondo {

/// The length in bytes of the UTF-8 character that `text` begins with; 0 if there is none.
std::size_t utf8_character_bytes(std::string_view text);

bool is_utf8(std::string_view text);

/// The text with each byte that is not UTF-8, and each control character except tab and newline, written as \xNN: safe to
/// print on a terminal and in a log. Other text is unchanged.
std::string shown_as_utf8(std::string_view text);

}  // namespace rondo
