// SPDX-License-Identifier: Apache-2.0
// Large numbers as people read them: "25.6 k", "134 M", "896 PFLOP", "12.5 MiB".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rondo {

/// In steps of 1000, with k, M, G, T, P or E: 1.5e6 FLOP is "1.5 MFLOP", 1.5e6 without a unit "1.5 M", 12 is "12".
std::string figure_text(double value, std::string_view unit = "");
/// "1 document", "3 documents"
std::string counted(std::int64_t count, std::string_view noun);
/// In steps of 1024: MiB, from 1024 on GiB.
std::string bytes_text(std::int64_t bytes);

}  // namespace rondo
