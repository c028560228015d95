// SPDX-License-Identifier: Apache-2.0
// The scan over ranks equals a serial fold, in integers that fp64 represents exactly: every correct order of combination gives
// the same bits, and maps composed in the wrong order do not.
#include "model/exclusive_scan.hpp"

#include <bit>
#include <gtest/gtest.h>

#include "core/random.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

constexpr std::int64_t kHeads = 2, kDim = 3;

std::int64_t draw(const char* name, std::int64_t index, std::int64_t largest) {
  const std::uint64_t bits = CounterRandom(7, stream_of(name)).bits(static_cast<std::uint64_t>(index));
  return static_cast<std::int64_t>(bits % static_cast<std::uint64_t>(2 * largest + 1)) - largest;
}

Tensor added_of(std::size_t element, const Shape& shape) {
  Tensor added(DType::Fp64, shape);
  for (std::int64_t i = 0; i < added.count(); ++i) {
    added.set(i, static_cast<double>(draw("added", static_cast<std::int64_t>(element) * 100 + i, 5)));
  }
  return added;
}

// 1 - decay is a shear that adds row b to row a, with another pair per element, so that products do not commute and stay small.
Tensor decay_of(std::size_t element) {
  Tensor decay(DType::Fp64, {kHeads, kDim, kDim});
  for (std::int64_t g = 0; g < kHeads; ++g) {
    const auto index = static_cast<std::int64_t>(element) * kHeads + g;
    const std::int64_t a = draw("row", index, 1) + 1, b = (a + 1 + (draw("column", index, 1) + 1) % 2) % kDim;
    decay.set((g * kDim + a) * kDim + b, draw("sign", index, 1) >= 0 ? -1 : 1);
  }
  return decay;
}

struct Problem {
  std::vector<ScanElement> elements;
  ScanDirection direction;
  ScanMap map;
  Shape state;
  bool has_initial;
};

// x -> (1 - decay) x + added, or with (1 - decay)^T.
void apply(const Problem& problem, std::size_t element, Tensor& x) {
  Tensor next = added_of(element, problem.state);
  if (!problem.elements[element].is_reset) {
    const std::int64_t columns = problem.state.rank() == 3 ? kDim : 1;
    const Tensor decay = decay_of(element);
    const bool is_transposed = problem.direction == ScanDirection::Reverse;
    for (std::int64_t g = 0; g < kHeads; ++g) {
      for (std::int64_t i = 0; i < kDim; ++i) {
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::int64_t at = (g * kDim + i) * columns + c;
          double value = next[at] + x[at];
          for (std::int64_t j = 0; problem.map == ScanMap::Affine && j < kDim; ++j) {
            const std::int64_t entry = is_transposed ? j * kDim + i : i * kDim + j;
            value -= decay[g * kDim * kDim + entry] * x[(g * kDim + j) * columns + c];
          }
          next.set(at, value);
        }
      }
    }
  }
  x = std::move(next);
}

// The state before each element, in the direction of the scan.
std::vector<Tensor> serial_fold(const Problem& problem) {
  Tensor x = problem.has_initial ? added_of(1000, problem.state) : Tensor(DType::Fp64, problem.state);
  std::vector<Tensor> before(problem.elements.size());
  for (std::size_t place = 0; place < before.size(); ++place) {
    const std::size_t element =
        problem.direction == ScanDirection::Forward ? place : problem.elements.size() - 1 - place;
    before[element] = Tensor(DType::Fp64, problem.state);
    for (std::int64_t i = 0; i < x.count(); ++i) before[element].set(i, x[i]);
    apply(problem, element, x);
  }
  return before;
}

void upload(const Tensor& values, const TensorView& to) {
  std::memcpy(to.data, values.view().data, values.view().size_bytes());
}

void expect_like_the_serial_fold(Execution& e, const Problem& problem) {
  const std::vector<Tensor> expected = serial_fold(problem);
  Arena::Scope scope(e.scratch);
  ExclusiveScan scan(e, problem.elements, problem.direction, problem.map, problem.state);
  std::vector<std::size_t> own;
  for (std::size_t i = 0; i < problem.elements.size(); ++i) {
    if (problem.elements[i].rank == e.ring.rank()) own.push_back(i);
  }
  ASSERT_EQ(scan.num_own(), own.size());
  for (std::size_t i = 0; i < own.size(); ++i) {
    upload(added_of(own[i], problem.state), scan.map(i).added);
    if (problem.map == ScanMap::Affine) upload(decay_of(own[i]), scan.map(i).decay);
  }
  const Tensor initial = added_of(1000, problem.state);
  scan.start(problem.has_initial ? initial.view() : TensorView{});
  scan.finish();
  for (std::size_t i = 0; i < own.size(); ++i) {
    for (std::int64_t at = 0; at < problem.state.count(); ++at) {
      ASSERT_EQ(scan.state(i).as<double>()[at], expected[own[i]][at]) << "element " << own[i] << ", value " << at;
    }
  }
}

struct Ownership {
  const char* name;
  std::vector<int> ranks;  // of the elements
};

std::vector<Ownership> ownerships(int ring) {
  std::vector<int> one, zigzag, cyclic, pairs;
  for (int i = 0; i < ring; ++i) one.push_back(i);
  for (int i = 0; i < 2 * ring; ++i) zigzag.push_back(i < ring ? i : 2 * ring - 1 - i);
  for (int i = 0; i < 3 * ring; ++i) cyclic.push_back(i % ring);
  for (int i = 0; i < 2 * ring; ++i) pairs.push_back(i / 2);  // neighbours on one rank
  return {{"contiguous", one}, {"zigzag", zigzag}, {"block cyclic", cyclic}, {"pairs", pairs}};
}

class ExclusiveScanRing : public testing::TestWithParam<int> {};

TEST_P(ExclusiveScanRing, IsTheSerialFold) {
  if (world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  with_ranks(GetParam(), [](const Communicator& group) {
    TestExecution execution(group);
    const Shape matrix{kHeads, kDim, kDim}, vector{kHeads, kDim};
    for (const Ownership& ownership : ownerships(group.size())) {
      for (const std::size_t every : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{7}}) {
        for (const ScanDirection direction : {ScanDirection::Forward, ScanDirection::Reverse}) {
          for (const auto& [map, shape] :
               {std::pair{ScanMap::Sum, vector}, {ScanMap::Sum, matrix}, {ScanMap::Affine, matrix}}) {
            for (const bool has_initial : {false, true}) {
              SCOPED_TRACE(std::string(ownership.name) + ", resets every " + std::to_string(every) +
                           (direction == ScanDirection::Reverse ? ", reverse" : ", forward") +
                           (map == ScanMap::Affine ? ", affine" : ", sum") + (has_initial ? ", initial" : ""));
              Problem problem{{}, direction, map, shape, has_initial};
              for (std::size_t i = 0; i < ownership.ranks.size(); ++i) {
                problem.elements.push_back({ownership.ranks[i], every > 0 && i % every == every / 2});
              }
              expect_like_the_serial_fold(execution.get(), problem);
            }
          }
        }
      }
    }
  });
}

// It takes two maps per own run, and a number of rounds logarithmic in the number of runs.
TEST_P(ExclusiveScanRing, TakesMemoryOfItsOwnRunsAlone) {
  if (world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  with_ranks(GetParam(), [](const Communicator& group) {
    const Shape matrix{kHeads, 8, 8};
    TestExecution execution(group);
    std::vector<ScanElement> elements;
    for (int rank = 0; rank < group.size(); ++rank) elements.push_back({rank, false});
    {
      Arena::Scope scope(execution.get().scratch);
      ExclusiveScan scan(execution.get(), elements, ScanDirection::Forward, ScanMap::Affine, matrix);
      for (const TensorView& view : {scan.map(0).added, scan.map(0).decay}) {
        execution.device().fill_zero(execution.get().compute, view.data, view.size_bytes());
      }
      scan.start({});
      scan.finish();
      EXPECT_LE(scan.num_rounds(), 1 + std::bit_width(static_cast<unsigned>(group.size() - 1)));
    }
    const auto bytes = static_cast<std::int64_t>(execution.device().memory().peak_bytes(MemoryUse::Workspace));
    EXPECT_EQ(bytes, 4 * matrix.count() * std::int64_t{sizeof(double)});
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, ExclusiveScanRing, testing::Values(1, 2, 3, 5, 8));

}  // namespace
}  // namespace rondo::test
