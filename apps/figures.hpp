// SPDX-License-Identifier: Apache-2.0
// Formats large numbers for people: "25.6 k", "134 M", "896 PFLOP", "12.5 MiB".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rondo {

/// With the prefix k, M, G, T, P or E: 1.5e6 FLOP is "1.5 MFLOP", 1.5e6 without a unit "1.5 M", 12 is "12".
std::string figure_text(double value, std::string_view unit = "");
/// "1 document", "3 documents"
std::string counted(std::int64_t count, std::string_view noun);
/// In MiB, or in GiB from 1024 MiB.
std::string bytes_text(std::int64_t bytes);

}  // namespace rondo
