// SPDX-License-Identifier: Apache-2.0
// Splits a stream of bytes into pieces that do not end inside a UTF-8 character. Bytes that are not UTF-8 pass unchanged:
// nothing is lost, replaced or reordered.
#pragma once

#include <string>
#include <string_view>

namespace rondo {

class Utf8Stream {
 public:
  /// @returns what can be shown now: all bytes held so far except an incomplete character at the end.
  std::string push(std::string_view bytes);
  /// @returns the bytes held back, an incomplete character.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace rondo
