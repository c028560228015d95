// SPDX-License-Identifier: Apache-2.0
#include "model/ring_schedule.hpp"

#include <algorithm>

namespace rondo {

namespace {

// The distances that any shard needs, and for every shard those at which a rank works on it.
class Needs {
 public:
  Needs(const SequenceLayout& layout, const AttentionMaskView& mask) : ring_(layout.ring()) {
    for (int distance = 0; distance < ring_; ++distance) {
      std::vector<bool> worked(static_cast<std::size_t>(ring_));
      for (int shard = 0; shard < ring_; ++shard) {
        worked[static_cast<std::size_t>(shard)] = attends(mask, layout.runs(at(shard, distance)), layout.runs(shard));
      }
      if (distance == 0 || std::find(worked.begin(), worked.end(), true) != worked.end()) {
        distances_.push_back(distance);
        worked_.push_back(std::move(worked));
      }
    }
  }

  int num_hops() const { return static_cast<int>(distances_.size()); }
  int distance(int hop) const { return distances_[static_cast<std::size_t>(hop)]; }
  /// The rank that holds a shard `distance` ranks from its owner; with a negative distance, the owner of the shard held.
  int at(int shard, int distance) const { return ((shard + distance) % ring_ + ring_) % ring_; }
  int holder(int shard, int hop) const { return at(shard, distance(hop)); }

  bool worked(int shard, int hop) const {
    return hop < num_hops() && worked_[static_cast<std::size_t>(hop)][static_cast<std::size_t>(shard)];
  }
  /// Is the shard worked on at this hop or later? Until then ranks forward it, even those that do not work on it.
  bool travels_to(int shard, int hop) const {
    for (int later = hop; later < num_hops(); ++later) {
      if (worked(shard, later)) return true;
    }
    return false;
  }
  /// Has a remote rank added to the shard's gradient in hops 1 to `hop`?
  bool has_gradient(int shard, int hop) const {
    for (int earlier = 1; earlier <= hop; ++earlier) {
      if (worked(shard, earlier)) return true;
    }
    return false;
  }

 private:
  int ring_;
  std::vector<int> distances_;
  std::vector<std::vector<bool>> worked_;
};

void plan_keys(const Needs& needs, int rank, int hop, Hop& plan) {
  const int shard = needs.at(rank, -needs.distance(hop));
  plan.distance = needs.distance(hop);
  if (needs.travels_to(shard, hop)) plan.shard = shard;
  plan.work = needs.worked(shard, hop);
  if (hop + 1 == needs.num_hops()) return;
  if (needs.travels_to(shard, hop + 1)) plan.send_to = needs.holder(shard, hop + 1);
  const int next_shard = needs.at(rank, -needs.distance(hop + 1));
  if (!needs.travels_to(next_shard, hop + 1)) return;
  plan.receive_from = needs.holder(next_shard, hop);
  plan.receive_shard = next_shard;
}

// `hop` may be num_hops(): the transfers after the last hop.
void plan_gradients(const Needs& needs, int rank, int hop, Hop& plan) {
  if (hop < 2) {  // before hop 2 no remote rank has finished anything
    return;
  }
  const int previous_shard = needs.at(rank, -needs.distance(hop - 1));
  if (needs.has_gradient(previous_shard, hop - 1)) {
    const bool moves_on = needs.travels_to(previous_shard, hop);
    if (moves_on) {
      plan.send_gradient_to = needs.holder(previous_shard, hop);
    } else if (needs.travels_to(previous_shard, hop - 1)) {  // the previous hop was its last: back to the owner
      plan.send_gradient_to = previous_shard;
    }
    if (plan.send_gradient_to != Hop::kNobody) plan.gradient_shard = previous_shard;
  }
  if (hop < needs.num_hops()) {
    const int shard = needs.at(rank, -needs.distance(hop));
    if (needs.has_gradient(shard, hop - 1) && needs.travels_to(shard, hop)) {
      plan.receive_gradient_from = needs.holder(shard, hop - 1);
    }
  }
  const bool has_returned = needs.travels_to(rank, hop - 1) && !needs.travels_to(rank, hop);
  if (has_returned && needs.has_gradient(rank, hop - 1)) plan.receive_own_gradient_from = needs.holder(rank, hop - 1);
}

}  // namespace

RingSchedule::RingSchedule(const SequenceLayout& layout, const AttentionMaskView& mask, int rank) {
  const Needs needs(layout, mask);
  for (int hop = 0; hop < needs.num_hops(); ++hop) {
    Hop plan;
    plan_keys(needs, rank, hop, plan);
    plan_gradients(needs, rank, hop, plan);
    hops_.push_back(plan);
  }
  plan_gradients(needs, rank, needs.num_hops(), last_gradients_);
}

}  // namespace rondo
