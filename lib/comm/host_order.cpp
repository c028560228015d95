// SPDX-License-Identifier: Apache-2.0
#include "comm/host_order.hpp"

#include <algorithm>
#include <numeric>

namespace rondo {

std::vector<int> host_by_host(std::span<const std::string> hosts) {
  std::vector<int> order(hosts.size());
  std::iota(order.begin(), order.end(), 0);
  const auto first_of_host = [&](int rank) { return std::ranges::find(hosts, hosts[static_cast<std::size_t>(rank)]); };
  std::ranges::stable_sort(order, {}, first_of_host);
  return order;
}

}  // namespace rondo
