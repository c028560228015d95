// SPDX-License-Identifier: Apache-2.0
// The data plane: tensors between the ranks of one group, over MPI, over NCCL or within one rank. Each transport belongs to
// one stream.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "comm/communicator.hpp"
#include "core/arena.hpp"
#include "core/device.hpp"

namespace rondo {

/// One message of a group exchange. Messages between two ranks match in the order in which they are listed.
struct Message {
  int peer;
  TensorView data;
};

class Transport;

/// A transfer in flight. wait() must be called exactly once; destroying a transfer before that is a broken invariant, except
/// while an exception propagates.
class [[nodiscard]] Pending {
 public:
  Pending() = default;  // no transfer: wait() is a no-op and may be left out
  Pending(Transport* transport, std::uint64_t ticket) : transport_(transport), ticket_(ticket) {}
  ~Pending();
  Pending(Pending&& other) noexcept : transport_(std::exchange(other.transport_, nullptr)), ticket_(other.ticket_) {}
  Pending& operator=(Pending&& other) noexcept;

  /// Work given to `stream` after this call sees the received data and may overwrite what was sent.
  void wait(Stream& stream);

 private:
  Transport* transport_ = nullptr;
  std::uint64_t ticket_ = 0;
};

/// All ranks of the group make collective calls in the same order. Reductions add in rank order, so their result depends only
/// on the values and the number of ranks.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Starts all sends and receives as one group, without waiting. Sends happen after the work given to `stream` so far.
  virtual Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) = 0;
  /// data = sum over ranks of data, in the type of data (fp64 or fp32). Blocking in stream order.
  virtual void all_reduce(Stream& stream, const TensorView& data, Arena& scratch) = 0;
  /// data = root's data.
  virtual void broadcast(Stream& stream, const TensorView& data, int root) = 0;
  /// Advances transfers in flight; called from kernels between tiles. Cheap when there are none.
  virtual void progress() = 0;

  /// Exposed communication: time that streams, or the host, spent in wait() since the start. On a GPU it counts finished
  /// exchanges only.
  virtual double exposed_s() { return exposed_s_; }
  /// Bytes sent by this rank since the start.
  std::uint64_t sent_bytes() const { return sent_bytes_; }

 protected:
  friend class Pending;
  virtual void wait(std::uint64_t ticket, Stream& stream) = 0;
  double exposed_s_ = 0;
  std::uint64_t sent_bytes_ = 0;
};

std::unique_ptr<Transport> make_self_transport(Device& device);
/// @pre the tensors are in host memory
std::unique_ptr<Transport> make_mpi_transport(const Communicator& group);
/// MPI between GPUs, which ranks may share: messages pass through pinned host memory in pieces, which are copied on `copies`, a
/// stream that nothing else uses. The results are those of the MPI transport.
std::unique_ptr<Transport> make_staged_transport(const Communicator& group, Device& device, Stream& copies);

}  // namespace rondo
