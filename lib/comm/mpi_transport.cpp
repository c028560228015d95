// SPDX-License-Identifier: Apache-2.0
// Tensors over MPI point-to-point messages. Nothing moves in the background: progress() is called between
// tiles.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <vector>

#include "comm/mpi_handle.hpp"
#include "comm/reduction_parts.hpp"
#include "comm/transport.hpp"

namespace rondo {

namespace {

// MPI counts are int, and with messages in pieces progress() returns sooner.
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
constexpr int kExchangeTag = 1, kReduceTag = 2;

using Clock = std::chrono::steady_clock;

template <typename T> void add_to(TensorView to, TensorView from) {
  const auto target = to.span<T>();
  const auto source = from.span<T>();
  for (std::size_t i = 0; i < target.size(); ++i) target[i] += source[i];
}

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(const Communicator& group)
      : rank_(group.rank()), size_(group.size()), watch_(group.holder()->watch) {
    // A communicator of its own separates its messages from those of other transports and of the control plane.
    check_mpi(MPI_Comm_dup(mpi_comm_of(group), &comm_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  ~MpiTransport() override { MPI_Comm_free(&comm_); }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Pending send_recv(Stream&, std::span<const Message> sends, std::span<const Message> receives) override {
    if (sends.empty() && receives.empty()) return {};
    Group group{.ticket = ++last_ticket_, .requests = take_requests()};
    for (const Message& message : receives) post(message, kExchangeTag, Direction::Receive, group.requests);
    for (const Message& message : sends) post(message, kExchangeTag, Direction::Send, group.requests);
    groups_.push_back(std::move(group));
    return {this, last_ticket_};
  }

  void all_reduce(Stream&, const TensorView& data, Arena& scratch) override {
    if (size_ == 1 || data.count() == 0) return;
    for_each_slab(data, slab_bytes(size_), [&](const TensorView& slab) {
      Arena::Scope scope(scratch);
      reduce_own_part(slab, scratch);
      gather_parts(slab);
    });
  }

  void broadcast(Stream&, const TensorView& data, int root) override {
    auto* bytes = static_cast<std::byte*>(data.data);
    for (std::size_t first = 0; first < data.size_bytes(); first += kPieceBytes) {
      const std::size_t count = std::min(kPieceBytes, data.size_bytes() - first);
      MPI_Request request = MPI_REQUEST_NULL;
      check_mpi(MPI_Ibcast(bytes + first, static_cast<int>(count), MPI_BYTE, root, comm_, &request), "MPI_Ibcast");
      wait_for_all({&request, 1}, watch_);
    }
  }

  void progress() override {
    for (Group& group : groups_) {
      if (group.done) continue;
      int all = 0;
      check_mpi(MPI_Testall(static_cast<int>(group.requests.size()), group.requests.data(), &all, MPI_STATUSES_IGNORE),
                "MPI_Testall");
      group.done = all != 0;
    }
  }

 private:
  enum class Direction { Send, Receive };
  struct Group {
    std::uint64_t ticket;
    std::vector<MPI_Request> requests;
    bool done = false;
  };

  void wait(std::uint64_t ticket, Stream&) override {
    const auto group = std::find_if(groups_.begin(), groups_.end(), [&](const Group& g) { return g.ticket == ticket; });
    ensure(group != groups_.end(), "a transfer is waited for once");
    if (!group->done) {
      const auto start = Clock::now();
      wait_for(group->requests);
      exposed_s_ += std::chrono::duration<double>(Clock::now() - start).count();
    }
    spare_requests_.push_back(std::move(group->requests));
    groups_.erase(group);
  }

  void wait_for(std::vector<MPI_Request>& requests) { wait_for_all(requests, watch_); }

  // Vectors of finished groups are reused, so that a step allocates nothing.
  std::vector<MPI_Request> take_requests() {
    if (spare_requests_.empty()) return {};
    std::vector<MPI_Request> requests = std::move(spare_requests_.back());
    spare_requests_.pop_back();
    requests.clear();
    return requests;
  }

  void post(const Message& message, int tag, Direction direction, std::vector<MPI_Request>& requests) {
    auto* bytes = static_cast<std::byte*>(message.data.data);
    for (std::size_t first = 0; first < message.data.size_bytes(); first += kPieceBytes) {
      const auto count = static_cast<int>(std::min(kPieceBytes, message.data.size_bytes() - first));
      MPI_Request request = MPI_REQUEST_NULL;
      if (direction == Direction::Send) {
        check_mpi(MPI_Isend(bytes + first, count, MPI_BYTE, message.peer, tag, comm_, &request), "MPI_Isend");
        sent_bytes_ += static_cast<std::uint64_t>(count);
      } else {
        check_mpi(MPI_Irecv(bytes + first, count, MPI_BYTE, message.peer, tag, comm_, &request), "MPI_Irecv");
      }
      requests.push_back(request);
    }
  }

  TensorView part_of(const TensorView& slab, int part) const { return rondo::part_of(slab, part, size_); }

  // Every rank sums one part of the data over all ranks, in rank order whichever message arrives first.
  void reduce_own_part(const TensorView& flat, Arena& scratch) {
    const TensorView mine = part_of(flat, rank_);
    const TensorView arrived = take_arrivals(flat, rank_, size_, scratch);
    std::vector<MPI_Request> requests = take_requests();
    const auto row = [&](int peer) {
      return arrived.rows(peer, 1).reshaped({arrived.shape[1]}).rows(0, mine.shape[0]);
    };
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) post({peer, row(peer)}, kReduceTag, Direction::Receive, requests);
    }
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) post({peer, part_of(flat, peer)}, kReduceTag, Direction::Send, requests);
    }
    wait_for(requests);
    spare_requests_.push_back(std::move(requests));
    const TensorView own = row(rank_);
    std::copy_n(static_cast<std::byte*>(mine.data), mine.size_bytes(), static_cast<std::byte*>(own.data));
    std::copy_n(static_cast<std::byte*>(row(0).data), mine.size_bytes(), static_cast<std::byte*>(mine.data));
    for (int peer = 1; peer < size_; ++peer) add(mine, row(peer));
  }

  void gather_parts(const TensorView& flat) {
    std::vector<MPI_Request> requests = take_requests();
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) post({peer, part_of(flat, peer)}, kReduceTag, Direction::Receive, requests);
    }
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) post({peer, part_of(flat, rank_)}, kReduceTag, Direction::Send, requests);
    }
    wait_for(requests);
    spare_requests_.push_back(std::move(requests));
  }

  static void add(const TensorView& to, const TensorView& from) {
    if (to.count() == 0) return;
    ensure(to.dtype == DType::Fp64 || to.dtype == DType::Fp32, "reductions are in fp64 or fp32");
    to.dtype == DType::Fp64 ? add_to<double>(to, from) : add_to<float>(to, from);
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_, size_;
  const std::function<void()>* watch_;
  std::uint64_t last_ticket_ = 0;
  std::deque<Group> groups_;
  std::vector<std::vector<MPI_Request>> spare_requests_;
};

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(const Communicator& group) {
  return std::make_unique<MpiTransport>(group);
}

}  // namespace rondo
