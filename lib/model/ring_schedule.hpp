// SPDX-License-Identifier: Apache-2.0
// Which key/value shard each rank works on in each hop, and what it sends and receives meanwhile. A pure function of layout and
// mask: all ranks compute consistent schedules. Hops that no rank needs are left out.
#pragma once

#include <vector>

#include "core/attention_mask.hpp"
#include "core/sequence_layout.hpp"

namespace rondo {

/// One hop of one rank: what it computes and what it sends and receives meanwhile. Ranks are ring ranks; kNobody if nothing is
/// sent or received.
struct Hop {
  static constexpr int kNobody = -1;

  int distance = 0;     ///< the shard held is that of rank (this - distance) mod R
  int shard = kNobody;  ///< owner of the key/value shard held; kNobody: none was received
  bool work = false;    ///< true if any query of this rank attends to any key of the shard

  // Key/value transfers that overlap this hop: forward the current shard, receive the shard of the next hop.
  int send_to = kNobody;
  int receive_from = kNobody;
  int receive_shard = kNobody;  ///< owner of the shard that is received

  // Gradient transfers that overlap this hop in backward: send the partial sum of the previous hop's shard to its next holder
  // or its owner; receive the partial sum of this hop's shard; receive the finished sum of this rank's own shard.
  int send_gradient_to = kNobody;
  int gradient_shard = kNobody;  ///< owner of the shard whose gradient is sent
  int receive_gradient_from = kNobody;
  int receive_own_gradient_from = kNobody;
};

class RingSchedule {
 public:
  RingSchedule(const SequenceLayout& layout, const AttentionMaskView& mask, int rank);

  /// Hop 0 is this rank's own shard.
  const std::vector<Hop>& hops() const { return hops_; }
  /// The gradient transfers after the last hop.
  const Hop& last_gradients() const { return last_gradients_; }

 private:
  std::vector<Hop> hops_;
  Hop last_gradients_;
};

}  // namespace rondo
