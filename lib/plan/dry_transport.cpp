// SPDX-License-Identifier: Apache-2.0
#include "plan/dry_transport.hpp"

#include "comm/reduction_parts.hpp"

namespace rondo {

Pending DryTransport::send_recv(Stream&, std::span<const Message> sends, std::span<const Message> receives) {
  for (const std::span<const Message>& messages : {sends, receives}) {
    for (const Message& message : messages) {
      ensure(message.peer >= 0 && message.peer < size_, "messages are for ranks of the group");
    }
  }
  if (size_ == 1) return {};  // a single rank copies instead
  for (const Message& message : sends) send(message.data.size_bytes());
  return {};
}

// As in the real transports, each rank sums one part of a slab and sends the sum to the others. MPI between GPUs takes this
// scratch in host memory, so there the count is 16 MiB too high.
void DryTransport::all_reduce(Stream&, const TensorView& data, Arena& scratch) {
  if (size_ == 1 || data.count() == 0) return;
  for_each_slab(data, slab_bytes(size_), [&](const TensorView& slab) {
    Arena::Scope scope(scratch);
    take_arrivals(slab, rank_, size_, scratch);
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      send(part_of(slab, peer, size_).size_bytes());
      send(part_of(slab, rank_, size_).size_bytes());
    }
  });
}

void DryTransport::broadcast(Stream&, const TensorView& data, int root) {
  if (size_ == 1 || root != rank_) return;
  ++num_messages_;
  broadcast_bytes_ += data.size_bytes();
}

void DryTransport::send(std::size_t bytes) {
  ++num_messages_;
  sent_bytes_ += bytes;
}

}  // namespace rondo
