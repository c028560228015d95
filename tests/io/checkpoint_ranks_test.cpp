// SPDX-License-Identifier: Apache-2.0
// Checkpoints over several ranks: any number writes the same record, any number reads it, and all ranks fail alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/io/checkpoint_support.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// One folder for all ranks; rank 0 makes and removes it.
class SharedFolder {
 public:
  SharedFolder() : world_(world()) {
    if (world_.rank() == 0) own_.emplace();
    path_ = world_.broadcast(world_.rank() == 0 ? own_->path().string() : "");
  }
  ~SharedFolder() { world_.barrier(); }
  const fs::path& path() const { return path_; }

 private:
  Communicator world_;
  std::optional<TemporaryFolder> own_;
  fs::path path_;
};

TEST(CheckpointRanks, WriteTheSameRecordWhateverTheirNumber) {
  const SharedFolder folder;
  std::string first;
  for (int num_ranks : {1, 2, 3, 4, 8}) {
    with_ranks(num_ranks, [&](const Communicator& group) {
      const CheckpointStore store(folder.path() / std::to_string(num_ranks));
      store.write(group, 7, SampleState(SampleState::large(), 7).tensors(), "{}");
      const CheckpointRecord record = read_checkpoint_record(store.step_folder(7));
      if (num_ranks == 1) first = record.tensors_digest().hex();
      if (group.rank() == 0) {
        EXPECT_EQ(record.tensors_digest().hex(), first) << num_ranks;
      }
    });
  }
  world().barrier();
  for (int readers : {1, 2, 3, 4, 8}) {
    with_ranks(readers, [&](const Communicator& group) {
      for (int writers : {1, 2, 3, 4, 8}) {
        const CheckpointStore store(folder.path() / std::to_string(writers));
        EXPECT_EQ(store.newest_valid(group), 7);
        EXPECT_TRUE(holds(group, store.step_folder(7), SampleState::large(), 7)) << writers << " to " << readers;
      }
    });
  }
}

TEST(CheckpointRanks, WriteAndReadShardedRows) {
  const SharedFolder folder;
  for (int num_ranks : {2, 3, 8}) {
    with_ranks(num_ranks, [&](const Communicator& group) {
      const CheckpointStore store(folder.path() / std::to_string(num_ranks));
      const auto entries = SampleState::large();
      SampleState state(entries, 5), received(entries, 6);
      const auto shard = [&](SampleState& of) {
        auto tensors = of.tensors();
        for (NamedTensor& tensor : tensors) {
          const std::int64_t chunk = checkpoint_chunk_rows(tensor.global_shape, tensor.dtype);
          const std::int64_t chunks = (tensor.global_shape[0] + chunk - 1) / chunk;
          const std::int64_t first = std::min(chunks * group.rank() / group.size() * chunk, tensor.global_shape[0]);
          const std::int64_t end = std::min(chunks * (group.rank() + 1) / group.size() * chunk, tensor.global_shape[0]);
          tensor.first_row = first;
          tensor.rows = first == end ? TensorView{} : tensor.rows.rows(first, end - first);
        }
        return tensors;
      };
      store.write(group, 1, shard(state), "{}");
      EXPECT_TRUE(holds(group, store.step_folder(1), entries, 5));
      const auto mine = shard(received);
      CheckpointReader(store.step_folder(1)).read(group, mine);
      const auto expected = shard(state);
      for (std::size_t index = 0; index < mine.size(); ++index) {
        EXPECT_EQ(std::memcmp(mine[index].rows.data, expected[index].rows.data, mine[index].rows.size_bytes()), 0);
      }
    });
  }
}

TEST(CheckpointRanks, AllReportTheSameDamage) {
  const SharedFolder folder;
  const CheckpointStore store(folder.path());
  const Communicator all = world();
  store.write(all, 1, SampleState(SampleState::large(), 1).tensors(), "{}");
  store.write(all, 2, SampleState(SampleState::large(), 2).tensors(), "{}");
  if (all.rank() == 0) {
    std::string bytes = read_bytes(store.step_folder(2) / "state.h5");
    bytes[bytes.size() / 2] ^= 4;
    write_bytes(store.step_folder(2) / "state.h5", bytes);
  }
  all.barrier();
  EXPECT_EQ(store.newest_valid(all), 1);
  const std::string refusal = refusal_of([&] { store.newest_valid(all, false); });
  EXPECT_THAT(refusal, HasSubstr("step-2/state.h5"));
  for (const std::string& other : all.all_gather(refusal)) EXPECT_EQ(other, refusal);
}

TEST(CheckpointRanks, AllStopWhenOneOfThemMayNotWriteSoMuch) {
  const SharedFolder folder;
  const CheckpointStore store(folder.path());
  const Communicator all = world();
  store.write(all, 1, SampleState(SampleState::small(), 1).tensors(), "{}");
  struct rlimit before {};
  getrlimit(RLIMIT_FSIZE, &before);
  struct rlimit small = before;
  small.rlim_cur = 2 << 20;
  if (all.rank() == 5) setrlimit(RLIMIT_FSIZE, &small);
  const std::string refusal =
      refusal_of([&] { store.write(all, 2, SampleState(SampleState::large(), 2).tensors(), "{}"); });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(refusal, HasSubstr("2097152 are free (rank 5)"));
  EXPECT_EQ(store.newest_valid(all), 1);
  EXPECT_EQ(store.steps().size(), 1U);
}

}  // namespace
}  // namespace rondo::test
