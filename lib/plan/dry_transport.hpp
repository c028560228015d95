// SPDX-License-Identifier: Apache-2.0
// One rank of a group whose other ranks do not exist: counts what it would send. What a rank sends is a function of layout,
// mask and rank, never of what it received.
#pragma once

#include <cstdint>

#include "comm/transport.hpp"

namespace rondo {

class DryTransport final : public Transport {
 public:
  /// @pre 0 <= rank < size
  DryTransport(int rank, int size) : rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) override;
  void all_reduce(Stream& stream, const TensorView& data, Arena& scratch) override;
  void broadcast(Stream& stream, const TensorView& data, int root) override;
  void progress() override {}

  /// Sent since construction; a broadcast counts as one message of its root.
  std::uint64_t num_messages() const { return num_messages_; }
  std::uint64_t broadcast_bytes() const { return broadcast_bytes_; }

 private:
  void wait(std::uint64_t, Stream&) override {}
  void send(std::size_t bytes);

  int rank_, size_;
  std::uint64_t num_messages_ = 0, broadcast_bytes_ = 0;
};

}  // namespace rondo
