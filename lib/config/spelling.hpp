// SPDX-License-Identifier: Apache-2.0
// "Did you mean": from a word that is not known to the one that was meant, by spelling or by what other
// programs call it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/field.hpp"
#include "config/problem.hpp"

namespace rondo {

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other; case is
/// ignored.
int edit_distance(std::string_view a, std::string_view b);

/// @returns the first nearest of the known words; nothing when none is near.
std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> known);

/// The word of the field's rule, such as "cosine", that was meant.
std::optional<std::string> suggest_word(const Field& field, std::string_view written);

Problem unknown_table(const std::string& table, const std::string& where);
/// @param table a known table, an unknown one of an override, or empty for a key outside all tables
Problem unknown_key(const std::string& table, const std::string& key, const std::string& where);

}  // namespace rondo
