// SPDX-License-Identifier: Apache-2.0
// The words of an enumeration in configuration files. Each enumeration declares them once, next to it, as
// `words_of(E)`; reading, printing and the reference page use only that.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace rondo {

template <typename E> struct Word {
  E value;
  std::string_view word;
};

template <typename E>
concept Worded = requires(E value) {
  words_of(value);
};

/// @returns the word of a value, e.g. "cosine".
template <Worded E> constexpr std::string_view word_of(E value) {
  for (const Word<E>& entry : words_of(value)) {
    if (entry.value == value) return entry.word;
  }
  return "?";
}

template <Worded E> constexpr std::optional<E> value_of(std::string_view word) {
  for (const Word<E>& entry : words_of(E{})) {
    if (entry.word == word) return entry.value;
  }
  return std::nullopt;
}

}  // namespace rondo
