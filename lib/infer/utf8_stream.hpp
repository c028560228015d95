// SPDX-License-Identifier: Apache-2.0
// Bytes that arrive one by one, passed on in pieces that do not end inside a UTF-8 character. Bytes that are
// no UTF-8 pass unchanged: nothing is lost, replaced or reordered.
#pragma once

#include <string>
#include <string_view>

namespace rondo {

class Utf8Stream {
 public:
  /// @returns what can be shown now: all bytes so far but the begun character at the end, if there is one.
  std::string push(std::string_view bytes);
  /// @returns the bytes held back, an incomplete character.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace rondo
