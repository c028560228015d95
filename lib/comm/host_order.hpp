// SPDX-License-Identifier: Apache-2.0
// An order of ranks in which the ranks of a host are consecutive, however the launcher placed them.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace rondo {

/// The ranks grouped by host: hosts in order of their first ranks, the ranks of a host in ascending order.
/// @param hosts  the host of every rank
std::vector<int> host_by_host(std::span<const std::string> hosts);

}  // namespace rondo
