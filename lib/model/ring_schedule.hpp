// SPDX-License-Identifier: Apache-2.0
// Which key/value share each rank works on, hop by hop, and what it sends and receives meanwhile. A pure
// function of layout and mask that every rank computes alike; hops that no rank needs are absent.
#pragma once

#include <vector>

#include "core/attention_mask.hpp"
#include "core/sequence_layout.hpp"

namespace rondo {

/// One hop of one rank. Ranks are ring ranks; kNobody where nothing moves.
struct Hop {
  static constexpr int kNobody = -1;

  int distance = 0;     ///< the share held is that of rank (this - distance) mod R
  int share = kNobody;  ///< owner of the key/value share held, kNobody: none came
  bool work = false;    ///< does any query of this rank see any key of the share

  // Keys and values that move while this hop is computed: this hop's share onwards, the next hop's share
  // hither.
  int send_to = kNobody;
  int receive_from = kNobody;

  // Gradients that move while this hop is computed (backward): the partial sum of the share of the hop before
  // goes on to its next holder or home; the partial sum of this hop's share arrives; this rank's own share
  // comes home.
  int send_gradient_to = kNobody;
  int gradient_share = kNobody;  ///< whose gradient is sent
  int receive_gradient_from = kNobody;
  int receive_home_from = kNobody;
};

class RingSchedule {
 public:
  RingSchedule(const SequenceLayout& layout, const AttentionMaskView& mask, int rank);

  /// Hop 0 is this rank's own share.
  const std::vector<Hop>& hops() const { return hops_; }
  /// Gradients that move after the last hop has been computed.
  const Hop& homecoming() const { return homecoming_; }

 private:
  std::vector<Hop> hops_;
  Hop homecoming_;
};

}  // namespace rondo
