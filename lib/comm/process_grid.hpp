// SPDX-License-Identifier: Apache-2.0
// The ranks of a run as a grid with named axes: world = data x ring. Neighbours in a ring are neighbours in
// rank.
#pragma once

#include "comm/communicator.hpp"

namespace rondo {

class ProcessGrid {
 public:
  /// @param ring_size ranks of one ring, 0: all. Throws if the world does not divide, agreed by all ranks.
  ProcessGrid(const Communicator& world, int ring_size);

  const Communicator& world() const { return world_; }
  /// The ranks that share a sequence with this one.
  const Communicator& ring() const { return ring_; }
  /// Which sequence of a batch this rank works on, and how many are worked on at once.
  int data_index() const { return data_index_; }
  int data_size() const { return data_size_; }

 private:
  const Communicator& world_;
  int data_size_, data_index_;
  Communicator ring_;
};

}  // namespace rondo
