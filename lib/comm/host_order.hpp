// SPDX-License-Identifier: Apache-2.0
// The order of ranks in which neighbours in a ring are neighbours in a node, however the launcher scattered them.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace rondo {

/// Ranks with those of a host behind each other: hosts in the order of their first ranks, the ranks of a host in theirs.
/// @param hosts of every rank
std::vector<int> host_by_host(std::span<const std::string> hosts);

}  // namespace rondo
