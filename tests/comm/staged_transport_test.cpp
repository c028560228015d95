// SPDX-License-Identifier: Apache-2.0
// Tensors of a device whose memory the host cannot touch, over MPI: what arrives is what the MPI transport brings.
#include <array>
#include <gtest/gtest.h>

#include "comm/transport.hpp"
#include "tests/support/device_values.hpp"
#include "tests/support/guarded_device.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo::test {
namespace {

constexpr std::int64_t kPiece = (1 << 20) / sizeof(float);  // values that travel together

/// A rank with a transport between devices of one kind.
class Side {
 public:
  explicit Side(std::unique_ptr<Device> device) : device_(std::move(device)) {}

  Buffer upload(const std::vector<float>& list) { return test::upload(*device_, *compute_, list); }
  std::vector<float> download(const Buffer& buffer) { return test::download(*device_, *compute_, buffer); }
  Device& device() { return *device_; }
  Stream& compute() { return *compute_; }
  Stream& copies() { return *copies_; }
  Arena& scratch() { return scratch_; }

 private:
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> compute_ = device_->make_stream(StreamRole::Compute);
  std::unique_ptr<Stream> copies_ = device_->make_stream(StreamRole::Ring);
  Arena scratch_{*device_, MemoryUse::Workspace};
};

class StagedTransportTest : public testing::TestWithParam<int> {
 protected:
  /// Runs body(group, side, transport) with both transports on the first ranks, as many as the parameter says.
  template <typename Body> void on_both(Body&& body) {
    with_ranks(GetParam(), [&](const Communicator& group) {
      Side host(std::make_unique<CpuDevice>());
      const auto plain = make_mpi_transport(group);
      const auto expected = body(group, host, *plain);
      Side gpu(std::make_unique<GuardedDevice>());
      const auto staged = make_staged_transport(group, gpu.device(), gpu.copies());
      EXPECT_EQ(body(group, gpu, *staged) == expected, true);
      EXPECT_EQ(staged->sent_bytes(), plain->sent_bytes());
    });
  }
};

TEST_P(StagedTransportTest, BringsMessagesOfAllLengthsInTheirOrder) {
  on_both([](const Communicator& group, Side& side, Transport& transport) {
    const int next = (group.rank() + 1) % group.size(), previous = (group.rank() + group.size() - 1) % group.size();
    std::vector<Buffer> out, in;
    std::vector<Message> sends, receives;
    for (const std::int64_t length :
         {std::int64_t{1}, std::int64_t{0}, kPiece - 1, kPiece, kPiece + 1, 5 * kPiece / 2}) {
      out.push_back(side.upload(uneven_values("out", group.rank(), length)));
      in.push_back(side.upload(std::vector<float>(static_cast<std::size_t>(length), -1.0F)));
      sends.push_back({next, out.back().view()});
      receives.push_back({previous, in.back().view()});
    }
    transport.send_recv(side.compute(), sends, receives).wait(side.compute());
    std::vector<std::vector<float>> arrived;
    for (const Buffer& buffer : in) arrived.push_back(side.download(buffer));
    for (std::size_t i = 0; i < in.size(); ++i) {
      EXPECT_EQ(arrived[i] == uneven_values("out", previous, static_cast<std::int64_t>(arrived[i].size())), true) << i;
    }
    return arrived;
  });
}

TEST_P(StagedTransportTest, KeepsExchangesApartThatAreUnderWayTogether) {
  on_both([](const Communicator& group, Side& side, Transport& transport) {
    const int next = (group.rank() + 1) % group.size(), previous = (group.rank() + group.size() - 1) % group.size();
    std::vector<float> arrived;
    for (int round = 0; round < 3; ++round) {  // memory of finished exchanges is used again
      const Buffer keys = side.upload(uneven_values("keys", group.rank() + round, 3 * kPiece));
      const Buffer sums = side.upload(uneven_values("sums", group.rank() + round, kPiece + 7));
      const Buffer keys_in = side.upload(std::vector<float>(3 * kPiece)),
                   sums_in = side.upload(std::vector<float>(kPiece + 7));
      const std::array<Message, 1> send_keys{{{next, keys.view()}}}, receive_keys{{{previous, keys_in.view()}}};
      const std::array<Message, 1> send_sums{{{next, sums.view()}}}, receive_sums{{{previous, sums_in.view()}}};
      Pending first = transport.send_recv(side.compute(), send_keys, receive_keys);
      Pending second = transport.send_recv(side.compute(), send_sums, receive_sums);
      second.wait(side.compute());
      first.wait(side.compute());
      side.device().fill_zero(side.compute(), keys.data(), keys.size_bytes());  // what was sent may be overwritten
      for (const Buffer* buffer : {&keys_in, &sums_in}) {
        const std::vector<float> list = side.download(*buffer);
        arrived.insert(arrived.end(), list.begin(), list.end());
      }
    }
    return arrived;
  });
}

TEST_P(StagedTransportTest, SumsInRankOrder) {
  on_both([](const Communicator& group, Side& side, Transport& transport) {
    std::vector<std::vector<float>> sums;
    for (const std::int64_t length : {std::int64_t{1}, std::int64_t{5}, std::int64_t{1000}, 18 * kPiece + 3}) {
      const Buffer data = side.upload(uneven_values("gradients", group.rank(), length));
      for (int time = 0; time < 2; ++time) transport.all_reduce(side.compute(), data.view(), side.scratch());
      sums.push_back(side.download(data));
    }
    return sums;
  });
}

TEST_P(StagedTransportTest, BroadcastsFromAnyRank) {
  on_both([](const Communicator& group, Side& side, Transport& transport) {
    const Buffer data = side.upload(uneven_values("weights", group.rank(), 2 * kPiece + 5));
    transport.broadcast(side.compute(), data.view(), group.size() - 1);
    return side.download(data);
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, StagedTransportTest, testing::Values(2, 4));

}  // namespace
}  // namespace rondo::test
