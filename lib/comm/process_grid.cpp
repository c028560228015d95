// SPDX-License-Identifier: Apache-2.0
#include "comm/process_grid.hpp"

namespace rondo {

namespace {

int agreed_ring_size(const Communicator& world, int ring_size) {
  const int size = ring_size == 0 ? world.size() : ring_size;
  agree_on(world, [&] {
    if (size >= 1 && world.size() % size == 0) return;
    const std::string ranks = std::to_string(world.size()) + (world.size() == 1 ? " rank" : " ranks");
    throw ConfigError(ranks + " cannot be cut into rings of " + std::to_string(size), "",
                      "use a ring size that divides the number of ranks, or leave it out");
  });
  return size;
}

}  // namespace

ProcessGrid::ProcessGrid(const Communicator& world, int ring_size)
    : world_(world),
      data_size_(world.size() / agreed_ring_size(world, ring_size)),
      data_index_(world.rank() / (world.size() / data_size_)),
      ring_(world.split(data_index_)) {}

}  // namespace rondo
