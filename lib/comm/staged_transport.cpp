// SPDX-License-Identifier: Apache-2.0
// Transfers tensors of GPUs over MPI, which accesses host memory only: messages go in pieces, and while one piece is sent the
// next is copied from or to the device. The MPI transport reduces on the host.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <sched.h>
#include <vector>

#include "comm/mpi_handle.hpp"
#include "comm/reduction_parts.hpp"
#include "comm/transport.hpp"
#include "core/trace.hpp"

namespace rondo {

namespace {

constexpr std::size_t kStagedPieceBytes = std::size_t{1} << 20;
constexpr int kNumStagedTags = 1 << 14;  // MPI guarantees tags up to 32767

/// Pinned memory for one piece, and the state of its transfer.
struct Piece {
  enum class Leg {
    None,
    FromDevice,  // being copied into the memory
    OnTheWire,
    ToDevice,  // being copied out of the memory
  };
  HostBuffer memory;
  std::unique_ptr<Event> copied;
  MPI_Request request = MPI_REQUEST_NULL;
  Leg leg = Leg::None;
  std::size_t index = 0, bytes = 0;
};

/// One message in flight, through two pieces alternately.
struct Route {
  enum class Direction { Send, Receive };
  Direction direction;
  int peer, tag;
  std::byte* memory;  // on the device
  std::size_t bytes;
  std::array<std::unique_ptr<Piece>, 2> pieces{};
  std::size_t num_started = 0, num_posted = 0;  // pieces

  std::size_t num_pieces() const { return (bytes + kStagedPieceBytes - 1) / kStagedPieceBytes; }
  /// Whether the caller's stream may continue: all pieces are sent, or their copies to the device are queued on the copy
  /// stream.
  bool is_done() const {
    if (num_started < num_pieces()) return false;
    for (const auto& piece : pieces) {
      if (piece && piece->leg != Piece::Leg::None && piece->leg != Piece::Leg::ToDevice) return false;
    }
    return true;
  }
};

class StagedTransport final : public Transport {
 public:
  StagedTransport(const Communicator& group, Device& device, Stream& copies)
      : rank_(group.rank()),
        size_(group.size()),
        watch_(group.holder()->watch),
        device_(device),
        copies_(copies),
        order_(device.make_event()),
        on_host_(make_mpi_transport(group)),
        num_sent_(static_cast<std::size_t>(size_), 0),
        num_received_(static_cast<std::size_t>(size_), 0) {
    check_mpi(MPI_Comm_dup(mpi_comm_of(group), &comm_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  ~StagedTransport() override { MPI_Comm_free(&comm_); }
  StagedTransport(const StagedTransport&) = delete;
  StagedTransport& operator=(const StagedTransport&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) override {
    if (sends.empty() && receives.empty()) return {};
    copies_follow(stream);
    Group group{.ticket = ++last_ticket_, .routes = {}};
    for (const Message& message : receives) add_route(group, message, Route::Direction::Receive, num_received_);
    for (const Message& message : sends) add_route(group, message, Route::Direction::Send, num_sent_);
    groups_.push_back(std::move(group));
    progress();
    return {this, last_ticket_};
  }

  void all_reduce(Stream& stream, const TensorView& data, Arena&) override {
    if (size_ == 1 || data.count() == 0) return;
    through_host(stream, data, true, true,
                 [this](const TensorView& slab) { on_host_->all_reduce(*host_stream_, slab, host_scratch_); });
  }

  void broadcast(Stream& stream, const TensorView& data, int root) override {
    if (size_ == 1 || data.count() == 0) return;
    through_host(stream, data, rank_ == root, rank_ != root,
                 [this, root](const TensorView& slab) { on_host_->broadcast(*host_stream_, slab, root); });
  }

  void progress() override {
    for (Group& group : groups_) {
      for (Route& route : group.routes) {
        for (auto& piece : route.pieces) {
          if (piece) advance(route, *piece);
        }
      }
    }
  }

 private:
  struct Group {
    std::uint64_t ticket;
    std::vector<Route> routes;
    bool is_done() const {
      return std::ranges::all_of(routes, [](const Route& route) { return route.is_done(); });
    }
  };

  // Exposed time counts from when the stream itself has nothing left to do.
  void wait(std::uint64_t ticket, Stream& stream) override {
    const TraceScope trace("staged_transport.wait");
    const auto group = std::ranges::find(groups_, ticket, &Group::ticket);
    ensure(group != groups_.end(), "a transfer is waited for once");
    device_.record(*order_, stream);
    bool stream_waits = false;
    auto since = std::chrono::steady_clock::now();
    until([&] {
      progress();
      if (!stream_waits && device_.is_done(*order_)) {
        stream_waits = true;
        since = std::chrono::steady_clock::now();
      }
      return group->is_done();
    });
    if (stream_waits) exposed_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
    follow_copies(stream);
    for (Route& route : group->routes) {
      for (auto& piece : route.pieces) {
        if (piece) spare_pieces_.push_back(std::move(piece));
      }
    }
    groups_.erase(group);
  }

  /// Tags tell the messages between two ranks apart: both count them in the order in which they are listed.
  void add_route(Group& group, const Message& message, Route::Direction direction, std::vector<int>& counts) {
    int& count = counts[static_cast<std::size_t>(message.peer)];
    Route route{.direction = direction,
                .peer = message.peer,
                .tag = count,
                .memory = static_cast<std::byte*>(message.data.data),
                .bytes = message.data.size_bytes()};
    count = (count + 1) % kNumStagedTags;
    for (std::size_t i = 0; i < std::min(route.pieces.size(), route.num_pieces()); ++i) route.pieces[i] = take_piece();
    group.routes.push_back(std::move(route));
  }

  // Pieces of finished messages are reused, so that a step allocates nothing.
  std::unique_ptr<Piece> take_piece() {
    if (spare_pieces_.empty()) {
      auto piece = std::make_unique<Piece>();
      piece->memory = HostBuffer(device_, kStagedPieceBytes);
      piece->copied = device_.make_event();
      return piece;
    }
    std::unique_ptr<Piece> piece = std::move(spare_pieces_.front());
    spare_pieces_.pop_front();
    return piece;
  }

  /// Advances a piece past the legs that are done.
  void advance(Route& route, Piece& piece) {
    if (piece.leg == Piece::Leg::ToDevice && device_.is_done(*piece.copied)) piece.leg = Piece::Leg::None;
    if (piece.leg == Piece::Leg::None && route.num_started < route.num_pieces()) start(route, piece);
    if (piece.leg == Piece::Leg::FromDevice && piece.index == route.num_posted && device_.is_done(*piece.copied)) {
      const auto count = static_cast<int>(piece.bytes);
      check_mpi(MPI_Isend(piece.memory.data(), count, MPI_BYTE, route.peer, route.tag, comm_, &piece.request),
                "MPI_Isend");
      sent_bytes_ += piece.bytes;
      ++route.num_posted;
      piece.leg = Piece::Leg::OnTheWire;
    }
    if (piece.leg == Piece::Leg::OnTheWire) {
      int is_there = 0;
      check_mpi(MPI_Test(&piece.request, &is_there, MPI_STATUS_IGNORE), "MPI_Test");
      if (is_there != 0) leave_wire(route, piece);
    }
  }

  void start(Route& route, Piece& piece) {
    piece.index = route.num_started++;
    piece.bytes = std::min(kStagedPieceBytes, route.bytes - piece.index * kStagedPieceBytes);
    if (route.direction == Route::Direction::Send) {
      copy_to_host(piece.memory.data(), route.memory + piece.index * kStagedPieceBytes, piece.bytes);
      device_.record(*piece.copied, copies_);
      piece.leg = Piece::Leg::FromDevice;
    } else {
      const auto count = static_cast<int>(piece.bytes);
      check_mpi(MPI_Irecv(piece.memory.data(), count, MPI_BYTE, route.peer, route.tag, comm_, &piece.request),
                "MPI_Irecv");
      piece.leg = Piece::Leg::OnTheWire;
    }
  }

  void leave_wire(const Route& route, Piece& piece) {
    piece.leg = Piece::Leg::None;
    if (route.direction == Route::Direction::Send) return;
    copy_to_device(route.memory + piece.index * kStagedPieceBytes, piece.memory.data(), piece.bytes);
    device_.record(*piece.copied, copies_);
    piece.leg = Piece::Leg::ToDevice;
  }

  /// Copies data to the host slab by slab, lets `work` change it there, and copies it back; the next slab is copied meanwhile.
  void through_host(Stream& stream, const TensorView& data, bool fetches, bool returns,
                    const std::function<void(const TensorView&)>& work) {
    copies_follow(stream);
    std::vector<TensorView> slabs;
    for_each_slab(data, slab_bytes(size_), [&](const TensorView& slab) { slabs.push_back(slab); });
    const auto place_of = [&](std::size_t index) -> Place& {
      Place& place = places_[index % places_.size()];
      if (place.memory.size_bytes() < slabs[index].size_bytes()) {
        device_.synchronize(copies_);  // the old memory may still be copied
        place = {HostBuffer(device_, slabs[index].size_bytes()), device_.make_event()};
      }
      return place;
    };
    const auto fetch = [&](std::size_t index) {
      if (index >= slabs.size()) return;
      Place& place = place_of(index);
      if (fetches) copy_to_host(place.memory.data(), slabs[index].data, slabs[index].size_bytes());
      device_.record(*place.arrived, copies_);  // also after the last copy from there to the device
    };
    fetch(0);
    for (std::size_t index = 0; index < slabs.size(); ++index) {
      fetch(index + 1);
      Place& place = place_of(index);
      until([&] { return device_.is_done(*place.arrived); });
      TensorView slab = slabs[index];
      slab.data = place.memory.data();
      const std::uint64_t sent_before = on_host_->sent_bytes();
      work(slab);
      sent_bytes_ += on_host_->sent_bytes() - sent_before;
      if (returns) copy_to_device(slabs[index].data, slab.data, slab.size_bytes());
    }
    follow_copies(stream);
  }

  void copy_to_host(void* to, const void* from, std::size_t bytes) {
    const StreamScope trace("staged_transport.copy_to_host", copies_);
    device_.copy(copies_, to, from, bytes);
  }
  void copy_to_device(void* to, const void* from, std::size_t bytes) {
    const StreamScope trace("staged_transport.copy_to_device", copies_);
    device_.copy(copies_, to, from, bytes);
  }

  void until(const std::function<bool()>& is_done) const {
    while (!is_done()) {
      if (watch_ != nullptr && *watch_) (*watch_)();
      sched_yield();
    }
  }
  void copies_follow(Stream& stream) { order_streams(stream, copies_); }
  void follow_copies(Stream& stream) { order_streams(copies_, stream); }
  void order_streams(Stream& first, Stream& then) {
    device_.record(*order_, first);
    device_.wait(then, *order_);
  }

  struct Place {
    HostBuffer memory;
    std::unique_ptr<Event> arrived;
  };

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_, size_;
  const std::function<void()>* watch_;
  Device& device_;
  Stream& copies_;
  std::unique_ptr<Event> order_;
  CpuDevice host_;
  std::unique_ptr<Stream> host_stream_ = host_.make_stream(StreamRole::Copy);
  Arena host_scratch_{host_, MemoryUse::Transport};
  std::unique_ptr<Transport> on_host_;
  std::vector<int> num_sent_, num_received_;  // messages, by peer
  std::uint64_t last_ticket_ = 0;
  std::deque<Group> groups_;
  std::deque<std::unique_ptr<Piece>> spare_pieces_;
  std::array<Place, 2> places_;
};

}  // namespace

std::unique_ptr<Transport> make_staged_transport(const Communicator& group, Device& device, Stream& copies) {
  return std::make_unique<StagedTransport>(group, device, copies);
}

}  // namespace rondo
