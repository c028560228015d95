// SPDX-License-Identifier: Apache-2.0
// "Did you mean": suggests a known word for an unknown one, by spelling or by the names that other programs use.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/field.hpp"
#include "config/problem.hpp"

namespace rondo {

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other; ignores case.
int edit_distance(std::string_view a, std::string_view b);

/// @returns the nearest of the known words, the first of several; nothing if none is near.
std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> known);

/// The word of the field's rule, such as "cosine", that was probably meant.
std::optional<std::string> suggest_word(const Field& field, std::string_view written);

Problem unknown_table(const std::string& table, const std::string& where);
/// @param table a known table, an unknown one of an override, or empty for a key outside all tables
Problem unknown_key(const std::string& table, const std::string& key, const std::string& where);

}  // namespace rondo
