// SPDX-License-Identifier: Apache-2.0
// The ranks of a run as a grid with named axes: world = data x ring. The ranks of a ring are consecutive ranks of the world.
#pragma once

#include "comm/communicator.hpp"

namespace rondo {

class ProcessGrid {
 public:
  /// @param ring_size ranks per ring, 0: all. Throws, on all ranks, if it does not divide the number of ranks.
  ProcessGrid(const Communicator& world, int ring_size);

  const Communicator& world() const { return world_; }
  /// The ranks that work on the same sequence as this one, itself included.
  const Communicator& ring() const { return ring_; }
  /// The index of this rank's ring on the data axis, and the number of rings.
  int data_index() const { return data_index_; }
  int data_size() const { return data_size_; }

 private:
  const Communicator& world_;
  int data_size_, data_index_;
  Communicator ring_;
};

}  // namespace rondo
