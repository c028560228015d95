// SPDX-License-Identifier: Apache-2.0
// Rules for values: each describes in words what it accepts, converts a value to its member or rejects it, and writes the
// member as a value.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "config/value.hpp"
#include "config/words.hpp"

namespace rondo {

struct Integers {
  std::int64_t least;
  std::int64_t most = std::numeric_limits<int>::max();

  static constexpr bool takes_text = false;
  std::string text() const;
  Value write(std::int64_t member) const { return member; }
  std::optional<std::int64_t> read(const Value& value) const;
};

/// A count >= 1, or "all": 0.
struct AllOrCount {
  static constexpr bool takes_text = true;
  std::string text() const { return "\"all\" or an integer >= 1"; }
  Value write(int member) const { return member == 0 ? Value("all") : Value(std::int64_t{member}); }
  std::optional<int> read(const Value& value) const;
};

/// Finite numbers; integers are accepted.
struct Numbers {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool above_least = false;  // least itself is rejected
  bool below_most = false;   // most itself is rejected

  static constexpr bool takes_text = false;
  std::string text() const;
  Value write(double member) const { return member; }
  std::optional<double> read(const Value& value) const;
};

/// Seconds, as "23h40m" or as a number.
struct Duration {
  static constexpr bool takes_text = true;
  std::string text() const;
  Value write(double member) const { return print_duration(member); }
  std::optional<double> read(const Value& value) const;
};

struct Flag {
  static constexpr bool takes_text = false;
  std::string text() const { return "true or false"; }
  Value write(bool member) const { return member; }
  std::optional<bool> read(const Value& value) const;
};

/// A flag, or "auto": an empty optional.
struct AutoOrFlag {
  static constexpr bool takes_text = true;
  std::string text() const { return "\"auto\", true or false"; }
  Value write(const std::optional<bool>& member) const { return member ? Value(*member) : Value("auto"); }
  std::optional<std::optional<bool>> read(const Value& value) const;
};

struct Path {
  static constexpr bool takes_text = true;
  std::string text() const { return "the path of a file or folder, as text"; }
  Value write(const std::string& member) const { return member; }
  std::optional<std::string> read(const Value& value) const;
};

/// One word of an enumeration.
template <Worded E> struct WordOf {
  static constexpr bool takes_text = true;
  std::string text() const {
    std::string result;
    const auto words = words_of(E{});
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (i > 0) result += i + 1 == words.size() ? " or " : ", ";
      result += "\"" + std::string(words[i].word) + "\"";
    }
    return result;
  }
  Value write(E member) const { return std::string(word_of(member)); }
  std::optional<E> read(const Value& value) const {
    const auto* word = std::get_if<std::string>(&value);
    return word == nullptr ? std::nullopt : value_of<E>(*word);
  }
};

/// One word of an enumeration, or "auto": an empty optional.
template <Worded E> struct AutoOrWordOf {
  static constexpr bool takes_text = true;
  std::string text() const { return "\"auto\", " + WordOf<E>{}.text(); }
  Value write(const std::optional<E>& member) const { return member ? WordOf<E>{}.write(*member) : Value("auto"); }
  std::optional<std::optional<E>> read(const Value& value) const {
    if (value == Value("auto")) return std::optional<E>{};
    const std::optional<E> known = WordOf<E>{}.read(value);
    if (!known) return std::nullopt;  // not `return known`, which would mean auto
    return known;
  }
};

/// One word of an enumeration, or a list of at least one.
template <Worded E> struct WordsOf {
  static constexpr bool takes_text = true;
  std::string text() const { return WordOf<E>{}.text() + ", or a list of these"; }
  Value write(const std::vector<E>& member) const {
    WordList words;
    for (const E kind : member) words.emplace_back(word_of(kind));
    return words.size() == 1 ? Value(words.front()) : Value(words);
  }
  std::optional<std::vector<E>> read(const Value& value) const {
    const auto* list = std::get_if<WordList>(&value);
    const auto* word = std::get_if<std::string>(&value);
    std::vector<E> kinds;
    for (const std::string& entry : list != nullptr ? *list : word != nullptr ? WordList{*word} : WordList{}) {
      const std::optional<E> known = value_of<E>(entry);
      if (!known) return std::nullopt;
      kinds.push_back(*known);
    }
    return kinds.empty() ? std::nullopt : std::optional(kinds);
  }
};

}  // namespace rondo
