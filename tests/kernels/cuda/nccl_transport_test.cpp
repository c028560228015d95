// SPDX-License-Identifier: Apache-2.0
// The transport over NCCL with several ranks, on a mock NCCL: what it asks for, in which order, and what it does when
// a peer fails. Says nothing about NCCL itself or about GPUs.
#include "kernels/cuda/nccl_transport.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/device_trace.hpp"
#include "model/ring_attention.hpp"
#include "runtime/nccl_start.hpp"
#include "tests/kernels/cuda/fake_nccl.hpp"
#include "tests/support/device_values.hpp"
#include "tests/support/guarded_device.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo::test {
namespace {

using testing::ElementsAre;

/// A mock device with a transport of its own.
struct NcclRank {
  explicit NcclRank(const Communicator& group) {
    fake_nccl::use(group);
    transport = cuda::make_nccl_transport({.device = device,
                                           .backend = *backend,
                                           .stream = *ring,
                                           .id = cuda::new_nccl_id(),
                                           .rank = group.rank(),
                                           .size = group.size(),
                                           .max_ctas = 6});
  }

  Buffer upload(const std::vector<float>& list) { return test::upload(device, *compute, list); }
  std::vector<float> download(const Buffer& buffer) { return test::download(device, *compute, buffer); }

  GuardedDevice device;
  std::unique_ptr<Backend> backend = make_guarded_backend(device);
  std::unique_ptr<Stream> compute = device.make_stream(StreamRole::Compute),
                          ring = device.make_stream(StreamRole::Ring);
  Arena scratch{device, MemoryUse::Workspace};
  std::unique_ptr<Transport> transport;
};

std::vector<float> values(int rank, std::int64_t count) { return uneven_values("nccl", rank, count); }

TEST(NcclTransport, MakesOneGroupOfAnExchangeAlsoBetweenTwoRanks) {
  with_ranks(2, [](const Communicator& group) {
    NcclRank rank(group);
    const int peer = 1 - group.rank();
    const std::string to = std::to_string(peer);
    const Buffer k = rank.upload(values(group.rank(), 4)), v = rank.upload(values(group.rank() + 2, 3));
    const Buffer k_in = rank.upload(values(8, 4)), v_in = rank.upload(values(9, 3));
    const std::array<Message, 2> sends{{{peer, k.view()}, {peer, v.view()}}};
    const std::array<Message, 2> receives{{{peer, k_in.view()}, {peer, v_in.view()}}};
    EXPECT_THAT(fake_nccl::take_calls(), ElementsAre("init, at most 6 CTAs"));
    const std::uint64_t before = rank.device.num_synchronizations();
    rank.transport->send_recv(*rank.compute, sends, receives).wait(*rank.compute);
    EXPECT_THAT(fake_nccl::take_calls(), ElementsAre("group", "recv " + to + " 16", "recv " + to + " 12",
                                                     "send " + to + " 16", "send " + to + " 12", "end"));
    EXPECT_EQ(rank.device.num_synchronizations(), before) << "the host waits for nothing";
    EXPECT_EQ(rank.transport->sent_bytes(), 28U);
    EXPECT_EQ(rank.download(k_in), values(peer, 4));
    EXPECT_EQ(rank.download(v_in), values(peer + 2, 3));
  });
}

TEST(NcclTransport, MeasuresAndTracesHowLongTheStreamStandsStill) {
  with_ranks(2, [](const Communicator& group) {
    NcclRank rank(group);
    const int peer = 1 - group.rank();
    const Buffer out = rank.upload(values(group.rank(), 4)), in = rank.upload(values(8, 4));
    const std::array<Message, 1> sends{{{peer, out.view()}}}, receives{{{peer, in.view()}}};
    DeviceTrace trace(rank.device, {rank.compute.get(), rank.ring.get()});
    const std::uint64_t before = rank.device.num_synchronizations();
    for (int exchange = 0; exchange < 2; ++exchange) {
      rank.transport->send_recv(*rank.compute, sends, receives).wait(*rank.compute);
    }
    EXPECT_EQ(rank.device.num_synchronizations(), before);
    rank.device.synchronize(*rank.compute);
    EXPECT_GT(rank.transport->exposed_s(), 0);
    EXPECT_EQ(rank.device.num_synchronizations(), before + 1) << "asking waits for nothing";
    const std::vector<TraceTrack> tracks = trace.take();
    const auto names_of = [](const TraceTrack& track) {
      std::vector<std::string> names;
      for (const TraceEvent& event : track.events) names.emplace_back(event.name);
      return names;
    };
    EXPECT_THAT(names_of(tracks[0]), ElementsAre("nccl_transport.wait", "nccl_transport.wait"));
    EXPECT_THAT(names_of(tracks[1]), ElementsAre("nccl_transport.send_recv", "nccl_transport.send_recv"));
    EXPECT_LT(tracks[1].events[0].start, tracks[1].events[1].start);
  });
}

TEST(NcclTransport, SumsInRankOrderAsTheMpiTransportDoes) {
  for (const int ranks : {2, 3, 4}) {
    with_ranks(ranks, [&](const Communicator& group) {
      NcclRank rank(group);
      CpuDevice host;
      Arena host_scratch(host, MemoryUse::Workspace);
      const auto mpi = make_mpi_transport(group);
      for (const std::int64_t length :
           {std::int64_t{1}, std::int64_t{5}, std::int64_t{1000}, (std::int64_t{17} << 18) + 3}) {
        std::vector<float> expected = values(group.rank(), length);
        mpi->all_reduce(*rank.compute, {expected.data(), DType::Fp32, {length}}, host_scratch);
        const Buffer data = rank.upload(values(group.rank(), length));
        rank.transport->all_reduce(*rank.compute, data.view(), rank.scratch);
        EXPECT_EQ(rank.download(data) == expected, true) << length << " values on " << ranks << " ranks";
      }
    });
  }
}

TEST(NcclTransport, BroadcastsFromAnyRank) {
  with_ranks(3, [](const Communicator& group) {
    NcclRank rank(group);
    const Buffer data = rank.upload(values(group.rank(), 100));
    rank.transport->broadcast(*rank.compute, data.view(), 2);
    EXPECT_EQ(rank.download(data), values(2, 100));
  });
}

TEST(NcclTransport, WaitsForACommunicatorThatDoesNotBlock) {
  with_ranks(2, [](const Communicator& group) {
    fake_nccl::use(group);
    fake_nccl::be_slow(3);
    {
      GuardedDevice device;
      const auto backend = make_guarded_backend(device);
      const auto ring = device.make_stream(StreamRole::Ring);
      const auto transport = cuda::make_nccl_transport({.device = device,
                                                        .backend = *backend,
                                                        .stream = *ring,
                                                        .id = cuda::new_nccl_id(),
                                                        .rank = group.rank(),
                                                        .size = group.size()});
      EXPECT_EQ(fake_nccl::num_alive(), 1);
      EXPECT_NO_THROW(transport->progress());
    }
    EXPECT_EQ(fake_nccl::num_alive(), 0);
    EXPECT_EQ(fake_nccl::num_aborted(), 0);
  });
}

constexpr std::chrono::milliseconds kNone{0}, kLong = std::chrono::hours(1);

/// Makes a transport as lib/runtime does, and returns what it threw.
Error start_error(const Communicator& group, std::chrono::milliseconds limit, std::chrono::milliseconds answer_limit) {
  GuardedDevice device;
  const auto backend = make_guarded_backend(device);
  const auto ring = device.make_stream(StreamRole::Ring);
  NcclStart start(group, limit, answer_limit);
  try {
    try {
      cuda::make_nccl_transport({.device = device,
                                 .backend = *backend,
                                 .stream = *ring,
                                 .id = cuda::new_nccl_id(),
                                 .rank = group.rank(),
                                 .size = group.size(),
                                 .all_ready = [&](bool is_ready) { return start.all_ready(is_ready); }});
    } catch (const std::exception&) {
      if (!start.is_over()) start.fail(error_at_hand());
      throw;
    }
  } catch (const AgreedError& error) {
    return Error(error.kind(), "agreed: " + error.message(), error.where(), error.advice());
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::Internal, "nothing was thrown");
}

TEST(NcclTransport, EndsOnAllRanksWhenOneCannotStart) {
  with_ranks(3, [](const Communicator& group) {
    fake_nccl::use(group);
    group.rank() == 1 ? fake_nccl::refuse_to_start() : fake_nccl::be_stuck();
    const Error error = start_error(group, kLong, kLong);
    EXPECT_EQ(error.kind(), ErrorKind::Communication);
    EXPECT_THAT(error.message(), testing::StartsWith("agreed: "));
    EXPECT_THAT(error.message(), testing::HasSubstr("(rank 1)"));
    EXPECT_EQ(fake_nccl::num_alive(), 0);
    EXPECT_EQ(fake_nccl::num_aborted(), group.rank() == 1 ? 0 : 1);
  });
}

TEST(NcclTransport, EndsOnAllRanksWhenTheStartTakesTooLong) {
  with_ranks(2, [](const Communicator& group) {
    fake_nccl::use(group);
    fake_nccl::be_stuck();
    const Error error = start_error(group, kNone, kLong);
    EXPECT_EQ(error.kind(), ErrorKind::Communication);
    EXPECT_EQ(error.message(), "agreed: NCCL has not connected the ranks within 0 s; not connected: rank 0, 1");
    EXPECT_THAT(error.advice(), testing::HasSubstr("NCCL_DEBUG=INFO"));
    EXPECT_EQ(fake_nccl::num_alive(), 0);
    EXPECT_EQ(fake_nccl::num_aborted(), 1);
  });
}

TEST(NcclTransport, EndsItsStartAloneWhenAPeerDoesNotAnswer) {
  with_ranks(2, [](const Communicator& group) {
    const Communicator gate = group.split(0);
    if (group.rank() == 0) {
      fake_nccl::use(group);
      fake_nccl::be_stuck();
      const Error error = start_error(group, kNone, kNone);
      EXPECT_EQ(error.kind(), ErrorKind::Communication);
      EXPECT_EQ(error.message(), "a peer does not answer while NCCL connects the ranks");
      EXPECT_EQ(fake_nccl::num_alive(), 0);
      gate.barrier();
    } else {
      gate.barrier();
      group.max(0);  // meets what rank 0 left, so that MPI can end
    }
  });
}

TEST(NcclTransport, GivesUpAPeerThatDoesNotEnd) {
  with_ranks(2, [](const Communicator& group) {
    fake_nccl::use(group);
    {
      GuardedDevice device;
      const auto backend = make_guarded_backend(device);
      const auto ring = device.make_stream(StreamRole::Ring);
      const auto transport = cuda::make_nccl_transport({.device = device,
                                                        .backend = *backend,
                                                        .stream = *ring,
                                                        .id = cuda::new_nccl_id(),
                                                        .rank = group.rank(),
                                                        .size = group.size(),
                                                        .finish_limit = kNone});
      fake_nccl::be_stuck();
    }
    EXPECT_EQ(fake_nccl::num_alive(), 0);
    EXPECT_EQ(fake_nccl::num_aborted(), 1);
  });
}

TEST(NcclTransport, AbortsWhenAPeerHasFailedAndSaysSo) {
  with_ranks(2, [](const Communicator& group) {
    NcclRank rank(group);
    group.barrier();
    const Buffer data = rank.upload(values(0, 4));
    const std::array<Message, 1> receives{{{1 - group.rank(), data.view()}}};
    Pending arrival = rank.transport->send_recv(*rank.compute, {}, receives);  // and nobody sends
    rank.compute->set_progress([&] { rank.transport->progress(); });
    arrival.wait(*rank.compute);
    fake_nccl::let_a_peer_fail();
    try {
      rank.device.synchronize(*rank.compute);
      FAIL() << "the step must not be taken for done";
    } catch (const CommError& error) {
      EXPECT_THAT(error.message(), testing::HasSubstr("remote process exited"));
      EXPECT_THAT(error.advice(), testing::HasSubstr("first error in the other ranks' output"));
    }
    EXPECT_EQ(fake_nccl::num_aborted(), 1);
    EXPECT_EQ(fake_nccl::num_alive(), 0);
  });
}

/// Exchanges of a forward and a backward pass, in every layout and mask: each rank's groups meet those of its peers, since
/// NCCL runs them strictly in order. A wrong order would never end.
TEST(NcclTransport, CarriesRingAttentionInEveryLayout) {
  constexpr std::int64_t kTokens = 23, kHeads = 2, kDim = 4;
  for (const int ranks : {2, 3, 4}) {
    for (const LayoutKind layout : kLayoutKinds) {
      for (const std::int64_t window : {0, 3}) {
        with_ranks(ranks, [&](const Communicator& group) {
          NcclRank rank(group);
          Execution execution{rank.device, *rank.backend, *rank.compute, rank.scratch,
                              Ring{*rank.transport, *rank.ring}};
          const Span span(SequenceLayout(kTokens, ranks, layout), {.causal = true, .window = window}, group.rank());
          const std::int64_t T = span.num_tokens();
          const auto make = [&](int seed) { return rank.upload(values(seed, T * kHeads * kDim)); };
          const auto shaped = [&](const Buffer& buffer) { return buffer.view().reshaped({T, kHeads, kDim}); };
          const Buffer q = make(1), k = make(2), v = make(3), d_out = make(4), out = make(5), d_q = make(6),
                       d_k = make(7), d_v = make(8);
          const Buffer lse = rank.upload(values(9, T * kHeads));
          const SoftmaxCarry carry{shaped(out), lse.view().reshaped({kHeads, T})};
          RingAttention attention(execution, 0.5);
          RingAttention::empty_carry(execution, carry);
          attention.forward(span, shaped(q), {shaped(k), shaped(v)}, carry);
          attention.backward(span, shaped(q), {shaped(k), shaped(v)},
                             {carry, shaped(d_out), shaped(d_q), {shaped(d_k), shaped(d_v)}});
          rank.device.synchronize(*rank.compute);
          for (const float value : rank.download(d_k)) ASSERT_TRUE(std::isfinite(value));
        });
      }
    }
  }
}

}  // namespace
}  // namespace rondo::test
