// SPDX-License-Identifier: Apache-2.0
// What all transports have in common, and the transport of a group of one rank.
#include "comm/transport.hpp"

#include <exception>

#include "core/log.hpp"

namespace rondo {

Pending::~Pending() {
  if (transport_ != nullptr && std::uncaught_exceptions() == 0) {
    log::error("a transfer was dropped without being waited for");
    std::terminate();
  }
}

Pending& Pending::operator=(Pending&& other) noexcept {
  ensure(transport_ == nullptr, "a transfer under way is waited for before it is replaced");
  transport_ = std::exchange(other.transport_, nullptr);
  ticket_ = other.ticket_;
  return *this;
}

void Pending::wait(Stream& stream) {
  if (transport_ == nullptr) return;
  std::exchange(transport_, nullptr)->wait(ticket_, stream);
}

namespace {

class SelfTransport final : public Transport {
 public:
  explicit SelfTransport(Device& device) : device_(device) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }

  Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) override {
    ensure(sends.size() == receives.size(), "a rank alone receives what it sends");
    for (std::size_t i = 0; i < sends.size(); ++i) {
      ensure(sends[i].data.size_bytes() == receives[i].data.size_bytes(), "matching messages have one size");
      device_.copy(stream, receives[i].data.data, sends[i].data.data, sends[i].data.size_bytes());
    }
    return {};
  }
  void all_reduce(Stream&, const TensorView&, Arena&) override {}
  void broadcast(Stream&, const TensorView&, int) override {}
  void progress() override {}

 private:
  void wait(std::uint64_t, Stream&) override {}
  Device& device_;
};

}  // namespace

std::unique_ptr<Transport> make_self_transport(Device& device) { return std::make_unique<SelfTransport>(device); }

}  // namespace rondo
