// SPDX-License-Identifier: Apache-2.0
#include "comm/process_grid.hpp"

namespace rondo {

namespace {

int checked_ring_size(const Communicator& world, int ring_size) {
  const int size = ring_size == 0 ? world.size() : ring_size;
  if (size < 1 || world.size() % size != 0) {
    throw ConfigError(std::to_string(world.size()) + " ranks cannot be cut into rings of " + std::to_string(size),
                      "parallel.ring", "use a ring size that divides the number of ranks, or \"all\"");
  }
  return size;
}

}  // namespace

ProcessGrid::ProcessGrid(const Communicator& world, int ring_size)
    : world_(world),
      data_index_(world.rank() / checked_ring_size(world, ring_size)),
      data_size_(world.size() / checked_ring_size(world, ring_size)),
      ring_(world.split(data_index_)) {}

}  // namespace rondo
