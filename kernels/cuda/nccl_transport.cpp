// SPDX-License-Identifier: Apache-2.0
// Each exchange is one group of sends and receives on the transport's own stream, ordered against the caller's stream by
// events alone: the host never waits within a step. The communicator does not block; it is asked for the errors that it met
// meanwhile, and after one it is aborted, which its peers see as an error of theirs. No wait for it is without an end: its start
// is agreed with all ranks, what is enqueued lets the stream's progress hooks run, and its release has a limit.
#include "kernels/cuda/nccl_transport.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <exception>
#include <nccl.h>
#include <sched.h>
#include <source_location>
#include <utility>
#include <vector>

#include "comm/reduction_parts.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "kernels/cuda/device.hpp"

namespace rondo::cuda {

namespace {

std::string reason_of(ncclResult_t result, ncclComm_t comm) {
  std::string text = std::string("NCCL: ") + ncclGetErrorString(result);
  const char* detail = ncclGetLastError(comm);
  if (detail != nullptr && *detail != '\0') text += std::string(": ") + detail;
  return text;
}

[[noreturn]] void fail(const std::string& reason, const std::source_location& caller) {
  throw CommError(
      reason, std::string(caller.file_name()) + ":" + std::to_string(caller.line()),
      "a peer may have ended: look for the first error in the other ranks' output; NCCL_DEBUG=INFO says more");
}

class NcclTransport final : public Transport {
 public:
  explicit NcclTransport(const NcclSetup& setup)
      : device_(setup.device),
        backend_(setup.backend),
        stream_(setup.stream),
        order_(setup.device.make_event()),
        rank_(setup.rank),
        size_(setup.size),
        finish_limit_(setup.finish_limit) {
    try {
      connect(setup);
    } catch (...) {
      abort();  // a peer failed, or will never come
      throw;
    }
  }
  ~NcclTransport() override {
    // After an error the peers may never come to an orderly end.
    std::uncaught_exceptions() > 0 ? abort() : finish();
  }
  NcclTransport(const NcclTransport&) = delete;
  NcclTransport& operator=(const NcclTransport&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) override {
    if (sends.empty() && receives.empty()) return {};
    order(stream, stream_);
    const StreamScope trace("nccl_transport.send_recv", stream_);
    start_group();
    for (const Message& message : receives) receive(message.peer, message.data);
    for (const Message& message : sends) send(message.peer, message.data);
    end_group(stream);
    exchanges_.push_back({++last_ticket_, take_event()});
    device_.record(*exchanges_.back().done, stream_);
    return {this, last_ticket_};
  }

  void all_reduce(Stream& stream, const TensorView& data, Arena& scratch) override {
    if (size_ == 1 || data.count() == 0) return;
    order(stream, stream_);
    const StreamScope trace("nccl_transport.all_reduce", stream_);
    for_each_slab(data, slab_bytes(size_), [&](const TensorView& slab) {
      Arena::Scope scope(scratch);
      reduce_own_part(stream, slab, scratch);
      gather_parts(stream, slab);
    });
    order(stream_, stream);
  }

  void broadcast(Stream& stream, const TensorView& data, int root) override {
    if (size_ == 1 || data.count() == 0) return;
    order(stream, stream_);
    settle(ncclBroadcast(data.data, data.data, data.size_bytes(), ncclInt8, root, comm_, native(stream_)), stream);
    order(stream_, stream);
  }

  double exposed_s() override {
    collect_stalls();
    return exposed_s_;
  }

  /// Throws when this communicator has met an error, e.g. that a peer ended.
  void progress() override {
    if (comm_ == nullptr) return;
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
    check(asked == ncclSuccess ? state : asked);
  }

 private:
  /// How long a stream stood still for an exchange.
  struct Stall {
    std::unique_ptr<Event> from, to;
  };
  struct Exchange {
    std::uint64_t ticket;
    std::unique_ptr<Event> done;
  };

  void wait(std::uint64_t ticket, Stream& stream) override {
    const auto exchange = std::ranges::find(exchanges_, ticket, &Exchange::ticket);
    ensure(exchange != exchanges_.end(), "a transfer is waited for once");
    const TraceScope trace("nccl_transport.wait");
    Stall stall = take_stall();
    device_.record(*stall.from, stream);
    device_.wait(stream, *exchange->done);
    device_.record(*stall.to, stream);
    stalls_.push_back(std::move(stall));
    spare_events_.push_back(std::move(exchange->done));
    exchanges_.erase(exchange);
  }

  Stall take_stall() {
    collect_stalls();
    if (spare_stalls_.empty()) return {device_.make_timed_event(), device_.make_timed_event()};
    Stall stall = std::move(spare_stalls_.back());
    spare_stalls_.pop_back();
    return stall;
  }

  void collect_stalls() {
    while (!stalls_.empty() && device_.is_done(*stalls_.front().to)) {
      exposed_s_ += device_.seconds_between(*stalls_.front().from, *stalls_.front().to);
      spare_stalls_.push_back(std::move(stalls_.front()));
      stalls_.pop_front();
    }
  }

  std::unique_ptr<Event> take_event() {
    if (spare_events_.empty()) return device_.make_event();
    std::unique_ptr<Event> event = std::move(spare_events_.back());
    spare_events_.pop_back();
    return event;
  }

  void start_group() { check(ncclGroupStart()); }
  void end_group(Stream& caller) { settle(ncclGroupEnd(), caller); }
  void send(int peer, const TensorView& data) {
    if (data.count() == 0) return;
    check(ncclSend(data.data, data.size_bytes(), ncclInt8, peer, comm_, native(stream_)));
    sent_bytes_ += data.size_bytes();
  }
  void receive(int peer, const TensorView& data) {
    if (data.count() == 0) return;
    check(ncclRecv(data.data, data.size_bytes(), ncclInt8, peer, comm_, native(stream_)));
  }

  // Every rank sums one part of the slab over all ranks, in rank order: ncclAllReduce promises no order.
  void reduce_own_part(Stream& caller, const TensorView& slab, Arena& scratch) {
    const TensorView mine = part_of(slab, rank_, size_);
    const TensorView arrived = scratch.take(slab.dtype, {size_, std::max<std::int64_t>(1, mine.shape[0])});
    const auto row = [&](int peer) {
      return arrived.rows(peer, 1).reshaped({arrived.shape[1]}).rows(0, mine.shape[0]);
    };
    start_group();
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      receive(peer, row(peer));
      send(peer, part_of(slab, peer, size_));
    }
    end_group(caller);
    if (mine.count() == 0) return;
    device_.copy(stream_, row(rank_).data, mine.data, mine.size_bytes());
    device_.copy(stream_, mine.data, row(0).data, mine.size_bytes());
    for (int peer = 1; peer < size_; ++peer) backend_.add(stream_, {row(peer), mine});
  }

  void gather_parts(Stream& caller, const TensorView& slab) {
    start_group();
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      receive(peer, part_of(slab, peer, size_));
      send(peer, part_of(slab, rank_, size_));
    }
    end_group(caller);
  }

  /// `then` goes on after what `first` was given so far.
  void order(Stream& first, Stream& then) {
    device_.record(*order_, first);
    device_.wait(then, *order_);
  }

  void check(ncclResult_t result, const std::source_location& caller = std::source_location::current()) {
    if (result == ncclSuccess || result == ncclInProgress) return;
    const std::string reason = reason_of(result, comm_);
    abort();  // so that the peers need not wait for ever either
    fail(reason, caller);
  }
  /// As check(), and until the communicator has done what was asked: only then its work is in the stream. Meanwhile the hooks of
  /// the stream that asked run, which end the wait when another rank has failed.
  void settle(ncclResult_t result, Stream& asking,
              const std::source_location& caller = std::source_location::current()) {
    check(result, caller);
    while (result == ncclInProgress) {
      asking.progress();
      sched_yield();
      result = asked_state(caller);
    }
  }
  /// What the communicator says of its last task. @throws CommError
  ncclResult_t asked_state(const std::source_location& caller = std::source_location::current()) {
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(comm_, &state), caller);
    check(state, caller);
    return state;
  }

  void connect(const NcclSetup& setup) {
    ncclUniqueId id;
    ensure(setup.id.size() == sizeof(id), "the id was made by new_nccl_id");
    std::memcpy(&id, setup.id.data(), sizeof(id));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    if (setup.max_ctas > 0) config.maxCTAs = setup.max_ctas;
    ncclResult_t state = ncclCommInitRankConfig(&comm_, size_, id, rank_, &config);
    check(state);
    const auto all_ready = [&] {
      return setup.all_ready ? setup.all_ready(state == ncclSuccess) : state == ncclSuccess;
    };
    while (!all_ready()) {
      sched_yield();
      state = asked_state();
    }
  }

  void abort() noexcept {
    if (comm_ == nullptr) return;
    if (ncclCommAbort(std::exchange(comm_, nullptr)) != ncclSuccess) {
      log::warning("a communicator of NCCL could not be aborted");
    }
  }
  void finish() noexcept {
    if (comm_ == nullptr) return;
    const auto end = std::chrono::steady_clock::now() + finish_limit_;
    ncclResult_t state = ncclCommFinalize(comm_);
    while (state == ncclInProgress && ncclCommGetAsyncError(comm_, &state) == ncclSuccess) {
      if (state == ncclInProgress && std::chrono::steady_clock::now() >= end) {
        log::warning("NCCL: a peer has not ended its communicator within {} s; this rank aborts its own",
                     std::chrono::duration_cast<std::chrono::seconds>(finish_limit_).count());
        return abort();
      }
      sched_yield();
    }
    if (ncclCommDestroy(std::exchange(comm_, nullptr)) != ncclSuccess) {
      log::warning("a communicator of NCCL could not be released");
    }
  }

  Device& device_;
  Backend& backend_;
  Stream& stream_;
  std::unique_ptr<Event> order_;
  int rank_, size_;
  std::chrono::milliseconds finish_limit_;
  ncclComm_t comm_ = nullptr;
  std::uint64_t last_ticket_ = 0;
  std::deque<Exchange> exchanges_;
  std::vector<std::unique_ptr<Event>> spare_events_;
  std::deque<Stall> stalls_;
  std::vector<Stall> spare_stalls_;
};

}  // namespace

std::string new_nccl_id() {
  ncclUniqueId id;
  const ncclResult_t result = ncclGetUniqueId(&id);
  if (result != ncclSuccess) fail(reason_of(result, nullptr), std::source_location::current());
  return {id.internal, sizeof(id.internal)};
}

std::unique_ptr<Transport> make_nccl_transport(const NcclSetup& setup) {
  return std::make_unique<NcclTransport>(setup);
}

}  // namespace rondo::cuda
