// SPDX-License-Identifier: Apache-2.0
#include "model/ring_check.hpp"

#include <gtest/gtest.h>

#include "tests/support/execution.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

RingCheck check_of(DType dtype, LayoutKind layout) {
  return {.dtype = dtype, .layout = layout, .heads = 4, .kv_heads = 2, .head_dim = 8};
}

TEST(RingCheck, PassesOnRanksThatWork) {
  const Communicator all = test::world();
  test::TestExecution ring(all), one(Communicator::self());
  for (const DType dtype : {DType::Fp64, DType::Fp32, DType::Bf16}) {
    for (const LayoutKind layout : kLayoutKinds) {
      EXPECT_NO_THROW(check_ring(all, ring.get(), one.get(), check_of(dtype, layout)));
    }
  }
}

/// Delivers everything, but flips one bit in one message of this rank.
class BrokenTransport final : public Transport {
 public:
  BrokenTransport(Transport& sound, bool broken) : sound_(sound), broken_(broken) {}
  int rank() const override { return sound_.rank(); }
  int size() const override { return sound_.size(); }
  Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) override {
    Pending moved = sound_.send_recv(stream, sends, receives);
    moved.wait(stream);
    if (broken_ && !receives.empty()) {
      static_cast<std::uint8_t*>(receives[0].data.data)[receives[0].data.size_bytes() - 1] ^= 0x40U;
      broken_ = false;
    }
    return {};
  }
  void all_reduce(Stream& stream, const TensorView& data, Arena& scratch) override {
    sound_.all_reduce(stream, data, scratch);
  }
  void broadcast(Stream& stream, const TensorView& data, int root) override { sound_.broadcast(stream, data, root); }
  void progress() override { sound_.progress(); }

 private:
  void wait(std::uint64_t, Stream&) override {}
  Transport& sound_;
  bool broken_;
};

TEST(RingCheck, StopsAllRanksWhenOneReceivesAWrongBit) {
  const Communicator all = test::world();
  test::TestExecution ring(all), one(Communicator::self());
  for (const DType dtype : {DType::Fp64, DType::Fp32, DType::Bf16}) {
    BrokenTransport broken(ring.get().ring.transport, all.rank() == all.size() - 1);
    Execution execution{
        ring.device(), ring.get().backend, ring.get().compute, ring.get().scratch, {broken, ring.get().compute}};
    try {
      check_ring(all, execution, one.get(), check_of(dtype, LayoutKind::Striped));
      ADD_FAILURE() << "a wrong bit passed, " << name_of(dtype);
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Device);
      EXPECT_NE(std::string(error.what()).find("host " + host_name()), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace rondo
