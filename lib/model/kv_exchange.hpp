// SPDX-License-Identifier: Apache-2.0
// The transfers of Ring Attention: key/value shards that travel round the ring, and in backward the partial sums of their
// gradients. RingSchedule lists what each rank sends and receives per hop; these classes own the buffers and start the sends.
#pragma once

#include <array>

#include "model/span.hpp"
#include "runtime/execution.hpp"

namespace rondo {

/// Keys and values of one shard, or their gradients.
struct KeyValue {
  TensorView k;  // [T, G, D]
  TensorView v;  // [T, G, D]
};

/// Two slots for key/value shards of other ranks (double buffering): attention reads one, the other receives the next shard.
class KvSlots {
 public:
  /// Takes the slots from `memory`, in a scope of the caller. @param own  this rank's shard, which is not copied
  KvSlots(Execution& execution, Arena& memory, const SequenceLayout& layout, const RingSchedule& schedule,
          const KeyValue& own);

  /// The shard that this hop attends to: this rank's own in hop 0.
  KeyValue current(const Hop& hop) const;
  /// Starts to forward this hop's shard to its next holder and to receive the shard of the next hop.
  Pending rotate(const Hop& hop);
  /// Makes the received shard the current one; call after waiting for the transfer.
  void swap() { current_ = 1 - current_; }

 private:
  Execution& execution_;
  const SequenceLayout& layout_;
  KeyValue own_;
  std::array<KeyValue, 2> slots_;
  std::size_t current_ = 0;
};

/// Gradients of remote shards on their way back to their owners. Each rank adds its contribution to the partial sum that it
/// receives for the current shard, and sends the sum to the next rank, or to the owner, while it computes the next hop.
class TravellingGradients {
 public:
  /// @param d_own  where the gradient of this rank's own shard is added
  TravellingGradients(Execution& execution, Arena& memory, const SequenceLayout& layout, const RingSchedule& schedule,
                      const KeyValue& d_own);

  /// Starts to send the partial sum of the previous hop and to receive that of this hop.
  Pending rotate(const Hop& hop);
  /// Where the block kernel adds this hop's gradients: zeroed memory, or the sink of this rank's own shard in hop 0.
  KeyValue sink(const Hop& hop);
  /// Adds this hop's contribution to the received sum, and the sum that returned to this rank to its own gradient; call after
  /// waiting for the transfer.
  void accumulate(const Hop& hop);

 private:
  KeyValue sized(const KeyValue& slot, int shard) const;
  void add(const KeyValue& from, const KeyValue& to);

  Execution& execution_;
  const SequenceLayout& layout_;
  KeyValue d_own_, contribution_, returned_;
  std::array<KeyValue, 2> sums_;
  std::size_t current_ = 0;
};

}  // namespace rondo
