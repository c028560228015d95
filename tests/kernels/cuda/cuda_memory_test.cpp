// SPDX-License-Identifier: Apache-2.0
// The compressive memory, its fold and its gate against the reference backend under the tolerance rule.
#include "tests/kernels/cuda/cuda_world.hpp"
#include "tests/support/compressive_memory.hpp"

namespace rondo::test {
namespace {

constexpr MemoryRule kRules[] = {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected};

struct Heads {
  std::int64_t queries, keys, dim;
};

/// A buffer of its own for each tensor, so that nothing outside of it is touched unseen.
class MemoryOnDevice {
 public:
  MemoryOnDevice(Place& place, MemoryProblem& problem) : place_(place), p_(problem) {}

  /// Forward with the decay of delta rules, then backward; all results in the accumulator type: a state is held in fp64 but what
  /// is added to it was summed in that.
  std::vector<Tensor> solve() {
    const bool has_decay = p_.rule != MemoryRule::Linear;
    if (has_decay) p_.decay = Tensor(DType::Fp64, p_.m.shape());
    q_ = place_.put(p_.q), k_ = place_.put(p_.k), v_ = place_.put(p_.v), m_before_ = place_.put(p_.m_before);
    z_of_steps_ = place_.put(p_.z_of_steps), segments_ = place_.put(p_.segments);
    read_ = place_.put(p_.read), normaliser_ = place_.put(p_.read_normaliser);
    const Buffer m = place_.put(p_.m_before), z = place_.put(p_.z_before),
                 decay = has_decay ? place_.put(p_.decay) : Buffer();
    const CompressiveMemoryForwardArgs forward{.rule = p_.rule,
                                               .q = q_.view(),
                                               .k = k_.view(),
                                               .v = v_.view(),
                                               .schedule = p_.schedule,
                                               .normalisers = normalisers(),
                                               .m = m.view(),
                                               .decay = has_decay ? decay.view() : TensorView{},
                                               .read = {read_.view(), normaliser_.view()},
                                               .scratch = place_.scratch};
    place_.backend.memory_normaliser_forward(
        *place_.stream, {p_.rule, k_.view(), p_.schedule, z.view(), normalisers(), place_.scratch});
    place_.backend.compressive_memory_forward(*place_.stream, forward);
    std::vector<Tensor> all;
    for (const Buffer* result : Results{&read_, &normaliser_, &m, &z, &z_of_steps_, &segments_}) {
      all.push_back(get(*result));
    }
    if (has_decay) all.push_back(get(decay));
    expect_same_state_without_reads(forward, all[2]);
    append_gradients(all);
    return all;
  }

 private:
  using Results = std::initializer_list<const Buffer*>;

  MemoryNormalisers normalisers() const { return {z_of_steps_.view(), segments_.view()}; }
  Tensor get(const Buffer& buffer) { return place_.get(buffer).converted(accumulator_of(p_.q.dtype())); }

  void expect_same_state_without_reads(CompressiveMemoryForwardArgs args, const Tensor& expected) {
    const Buffer m = place_.put(p_.m_before);
    args.q = {}, args.read = {}, args.decay = {}, args.m = m.view();
    place_.backend.compressive_memory_forward(*place_.stream, args);
    EXPECT_EQ(max_difference(get(m), expected), 0);
  }

  void append_gradients(std::vector<Tensor>& all) {
    const Buffer d_read = place_.put(p_.d_read), d_m = place_.put(p_.m_seed), d_z = place_.put(p_.z_seed),
                 d_z_alone = place_.put(p_.z_seed), d_m_alone = place_.put(Tensor(DType::Fp64, p_.d_m.shape())),
                 d_z_of_steps = place_.put(p_.d_z_of_steps), d_segments = place_.put(p_.d_segments),
                 d_q = place_.put(p_.d_q), d_k = place_.put(p_.d_k), d_v = place_.put(p_.d_v);
    CompressiveMemoryBackwardArgs backward{.rule = p_.rule,
                                           .q = q_.view(),
                                           .k = k_.view(),
                                           .v = v_.view(),
                                           .schedule = p_.schedule,
                                           .normalisers = normalisers(),
                                           .m = m_before_.view(),
                                           .read = {read_.view(), normaliser_.view()},
                                           .d_read = d_read.view(),
                                           .d_m = d_m.view(),
                                           .d_normalisers = {d_z_of_steps.view(), d_segments.view()},
                                           .d_q = d_q.view(),
                                           .d_k = d_k.view(),
                                           .d_v = d_v.view(),
                                           .scratch = place_.scratch};
    place_.backend.compressive_memory_backward(*place_.stream, backward);
    MemoryNormaliserBackwardArgs of_z{p_.rule,    k_.view(),  p_.schedule,   normalisers(), backward.d_normalisers,
                                      d_z.view(), d_k.view(), place_.scratch};
    place_.backend.memory_normaliser_backward(*place_.stream, of_z);
    // without sinks: the gradients of the states alone
    backward.d_q = backward.d_k = backward.d_v = {}, backward.d_m = d_m_alone.view();
    of_z.d_k = {}, of_z.d_z = d_z_alone.view();
    place_.backend.compressive_memory_backward(*place_.stream, backward);
    place_.backend.memory_normaliser_backward(*place_.stream, of_z);
    for (const Buffer* result :
         Results{&d_q, &d_k, &d_v, &d_m, &d_z, &d_z_of_steps, &d_segments, &d_m_alone, &d_z_alone}) {
      all.push_back(get(*result));
    }
  }

  Place& place_;
  MemoryProblem& p_;
  Buffer q_, k_, v_, m_before_, z_of_steps_, segments_, read_, normaliser_;
};

class CudaMemory : public CudaWorld {
 protected:
  /// The state before the run is that of a memory with something in it.
  void expect_memory_like_reference(DType type, MemoryRule rule, const MemorySchedule& schedule, const Heads& heads) {
    SCOPED_TRACE(testing::Message() << "rule " << static_cast<int>(rule) << ", segments of " << schedule.segment_tokens
                                    << ", heads " << heads.queries << ":" << heads.keys << ", dim " << heads.dim);
    expect_like_reference(type, [&](Place& place, DType rounded, DType held) {
      MemoryProblem p = MemoryProblem::random(held, rule, schedule, heads.queries, heads.keys, heads.dim, 1, rounded);
      p.z_before = Tensor::filled(DType::Fp64, p.z_before.shape(), 30);
      p.m_before = Tensor::random(DType::Fp32, p.m_before.shape(), 77, 5).converted(DType::Fp64);
      return MemoryOnDevice(place, p).solve();
    });
  }
  void expect_memory_like_reference(const MemorySchedule& schedule, const Heads& heads,
                                    std::initializer_list<DType> types) {
    for (const MemoryRule rule : kRules) {
      for (const DType type : types) expect_memory_like_reference(type, rule, schedule, heads);
    }
  }
};

constexpr std::initializer_list<DType> kEveryType{DType::Fp64, DType::Fp32, DType::Bf16};

TEST_F(CudaMemory, MatchesTheReferenceForSmallHeadsOfEveryType) {
  expect_memory_like_reference(whole_segments(9, 3, 31), {8, 4, 4}, kEveryType);
}

TEST_F(CudaMemory, MatchesTheReferenceForNastyHeads) {
  // Tiles are 64 wide and 32 deep, a slice of the chain 8 columns; beyond 128 dimensions threads have several rows.
  expect_memory_like_reference(whole_segments(33, 2, 80), {6, 3, 17}, {DType::Fp32});
  expect_memory_like_reference(whole_segments(33, 2, 80), {2, 2, 65}, {DType::Bf16});
  expect_memory_like_reference(whole_segments(20, 2, 41), {2, 1, 128}, {DType::Bf16});
  expect_memory_like_reference(DType::Fp64, MemoryRule::DeltaCorrected, whole_segments(5, 1, 7), {1, 1, 130});
  expect_memory_like_reference(DType::Fp32, MemoryRule::Delta, whole_segments(5, 1, 7), {1, 1, 260});
}

TEST_F(CudaMemory, MatchesTheReferenceForNastySegments) {
  expect_memory_like_reference(whole_segments(1, 1, 2), {16, 16, 4}, {DType::Fp32});    // a token
  expect_memory_like_reference(whole_segments(64, 2, 129), {2, 1, 32}, {DType::Bf16});  // a tile, and one query more
  expect_memory_like_reference(whole_segments(65, 1, 70), {4, 1, 24},
                               {DType::Fp32});  // ragged, four query heads a key head
  expect_memory_like_reference(whole_segments(40, 0, 90), {2, 2, 16}, {DType::Fp32});  // nothing is written
}

TEST_F(CudaMemory, MatchesTheReferenceWhereDocumentsStart) {
  // Short documents: steps of all lengths, some without a segment, resets with and without a write.
  MemorySchedule schedule = whole_segments(12, 6, 80);
  for (const std::size_t step : {std::size_t{0}, std::size_t{3}, std::size_t{5}}) schedule.steps[step].is_reset = true;
  schedule.steps[3].first_key = MemoryStep::kNoWrite;
  schedule.steps[3].num_queries = 5;
  schedule.steps[4].num_queries = 0;
  expect_memory_like_reference(schedule, {4, 2, 20}, {DType::Fp32, DType::Bf16});
}

TEST_F(CudaMemory, MatchesTheReferenceBehindAWindow) {
  // What is written left the window two segments ago; the first rank of a document has nothing to write at first.
  MemorySchedule schedule = whole_segments(10, 0, 75);
  for (std::size_t s = 2; s + 1 < schedule.steps.size(); ++s) {
    schedule.steps[s].first_key = static_cast<std::int64_t>(s - 2) * 10;
  }
  expect_memory_like_reference(schedule, {6, 3, 16}, {DType::Bf16});
}

TEST_F(CudaMemory, MatchesTheReferenceOverSeveralGroupsOfSteps) {
  MemorySchedule schedule = whole_segments(2, 257, 517);  // a group has 256 steps
  schedule.steps[255].is_reset = true;
  expect_memory_like_reference(DType::Fp32, MemoryRule::Delta, schedule, {1, 1, 4});
  schedule.steps[255].is_reset = false;
  expect_memory_like_reference(DType::Fp32, MemoryRule::Linear, schedule, {1, 1, 4});
}

// The kernels add A - P M where the plain version adds Phi^T (V - w Phi M), which is small here: M itself may have more than twice
// the error (docs/numerics.md), but nothing that is computed from it.
TEST_F(CudaMemory, FitsTheToleranceWhereSegmentsTellNothingNew) {
  constexpr std::size_t kStateItself = 2;
  const auto compute = [](Place& place, DType held) {
    MemoryProblem p =
        MemoryProblem::random(held, MemoryRule::DeltaCorrected, whole_segments(40, 8, 330), 2, 2, 32, 1, DType::Bf16);
    for (std::int64_t i = 0; i < p.v.count(); ++i) p.v.set(i, 5 + p.v[i] / 16);
    return MemoryOnDevice(place, p).solve();
  };
  const auto result = on_device([&](Place& place) { return compute(place, DType::Fp32); });
  const auto plain = on_host([&](Place& place) { return compute(place, DType::Fp32); });
  const auto exact = on_host([&](Place& place) { return compute(place, DType::Fp64); });
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (i == kStateItself) continue;
    EXPECT_TRUE(fits(result[i], plain[i], exact[i])) << "output " << i;
  }
}

TEST_F(CudaMemory, KeepsTheFeatureOfAVeryNegativeKey) {
  const std::vector<Tensor> result = on_device([&](Place& place) {
    MemoryProblem p(DType::Fp32, MemoryRule::Linear, whole_segments(1, 1, 2), 1, 1, 1);
    p.k.set(0, -18);
    p.v.set(0, 3);
    return MemoryOnDevice(place, p).solve();
  });
  EXPECT_EQ(result[0][0], 0);  // nothing was written before the first query
  EXPECT_NEAR(result[1][1], std::exp(-18.0), 1e-6 * std::exp(-18.0));
  EXPECT_NEAR(result[0][1], 3, 1e-6);
}

TEST_F(CudaMemory, FoldsLikeTheReference) {
  for (const std::int64_t dim : {4, 17, 128}) {
    for (const bool is_reset : {false, true}) {
      for (const bool is_transposed : {false, true}) {
        expect_like_reference([&](Place& place, DType type, DType held) {
          const Shape matrix{3, dim, dim}, vector{3, dim};
          const DType sums = accumulator_of(held), rounded = accumulator_of(type);
          const Buffer decay = place.put(input(rounded, sums, matrix, 1)),
                       added = place.put(input(rounded, sums, matrix, 2)),
                       added_z = place.put(input(rounded, sums, vector, 3));
          std::vector<Buffer> states;
          for (const std::uint64_t seed : {4, 5})
            states.push_back(place.put(Tensor::random(DType::Fp64, matrix, seed)));
          states.push_back(place.put(Tensor::random(DType::Fp64, vector, 6)));
          const auto fold = [&](const Buffer& state, const TensorView& decayed, const Buffer& by) {
            place.backend.memory_fold(*place.stream, {.state = state.view(),
                                                      .decay = decayed,
                                                      .added = by.view(),
                                                      .is_reset = is_reset,
                                                      .is_transposed = is_transposed});
          };
          fold(states[0], decay.view(), added);
          fold(states[1], {}, added);
          fold(states[2], {}, added_z);
          return place.get_all(states);
        });
      }
    }
  }
}

TEST_F(CudaMemory, TheGateFitsTheTolerance) {
  // Whole packs of a row and not, several chunks of tokens.
  for (const Shape& shape : {Shape{70, 3, 17}, Shape{130, 2, 32}, Shape{1, 1, 1}}) {
    expect_like_reference([&](Place& place, DType type, DType held) {
      const DType sums = accumulator_of(held), rounded = accumulator_of(type);
      const Shape of_gate{shape[1]};
      Tensor normaliser = Tensor::filled(sums, {shape[1], shape[0]}, 2);
      if (normaliser.count() > 5) normaliser.set(5, 0);  // nothing was read
      const Buffer local = place.put(input(rounded, sums, shape, 1)), read = place.put(input(rounded, sums, shape, 2)),
                   n = place.put(normaliser), gate = place.put(input(rounded, sums, of_gate, 3)),
                   d_out = place.put(input(type, held, shape, 4));
      std::vector<Buffer> out;
      for (int i = 0; i < 2; ++i) out.push_back(place.put(Tensor(held, shape)));
      out.push_back(place.put(Tensor(sums, shape)));
      out.push_back(place.put(input(rounded, sums, of_gate, 5)));
      const MemoryRead what{read.view(), n.view()};
      place.backend.memory_gate_forward(*place.stream, {local.view(), what, gate.view(), out[0].view()});
      place.backend.memory_gate_backward(
          *place.stream, {local.view(), what, gate.view(), d_out.view(), out[1].view(), out[2].view(), out[3].view()});
      return place.get_all(out);
    });
  }
}

}  // namespace
}  // namespace rondo::test
