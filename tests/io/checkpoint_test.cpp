// SPDX-License-Identifier: Apache-2.0
// Checkpoints on one rank without MPI: round trips, damage of every kind, falling back, replacing and pruning.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>

#include "io/checkpoint_space.hpp"
#include "io/checkpoint_writer.hpp"
#include "tests/io/checkpoint_support.hpp"

namespace rondo::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

const char* const kMetadata = R"({"step": 3, "seed": 17})";

class Checkpoint : public ::testing::Test {
 protected:
  void write(std::int64_t step, std::uint64_t seed,
             const std::vector<SampleState::Entry>& entries = SampleState::small()) {
    store_.write(self_, step, SampleState(entries, seed).tensors(), kMetadata);
  }
  /// Opens, verifies and reads step 3. @returns the refusal, or "same" or "different"
  std::string outcome() {
    bool same = false;
    const std::string refusal = refusal_of([&] {
      const CheckpointReader reader(store_.step_folder(3));
      reader.verify(self_);
      same = holds(self_, store_.step_folder(3), SampleState::small(), 3) && reader.metadata() == kMetadata;
    });
    return refusal != "accepted" ? refusal : same ? "same" : "different";
  }

  TemporaryFolder folder_;
  Communicator self_ = Communicator::self();
  CheckpointStore store_{folder_.path() / "checkpoints"};
};

TEST_F(Checkpoint, ReturnsEveryValueAndTheMetadata) {
  for (const auto& entries : {SampleState::small(), SampleState::large()}) {
    write(3, 3, entries);
    const CheckpointReader reader(store_.step_folder(3));
    EXPECT_EQ(reader.metadata(), kMetadata);
    EXPECT_EQ(reader.record().step, 3);
    reader.verify(self_);
    EXPECT_TRUE(holds(self_, store_.step_folder(3), entries, 3));
    EXPECT_EQ(store_.newest_valid(self_), 3);
  }
}

TEST_F(Checkpoint, GivesAnyRangeOfRows) {
  write(3, 3, SampleState::large());
  SampleState expected(SampleState::large(), 3);
  const CheckpointReader reader(store_.step_folder(3));
  for (const auto& [first, count] : {std::pair{0, 1}, {261, 1}, {100, 1000}, {2499, 1}, {1044, 262}}) {
    std::vector<float> rows(static_cast<std::size_t>(count) * 1001);
    const NamedTensor wanted{
        "wide", Shape{2500, 1001}, DType::Fp32, first, {rows.data(), DType::Fp32, Shape{count, 1001}}};
    reader.read(self_, std::span(&wanted, 1));
    EXPECT_EQ(
        std::memcmp(rows.data(), expected.values()[0].data() + static_cast<std::size_t>(first) * 4004, rows.size() * 4),
        0)
        << first;
  }
}

TEST_F(Checkpoint, TakesNoMoreSpaceThanWasAskedFor) {
  auto entries = SampleState::large();
  for (int i = 0; i < 300; ++i)
    entries.push_back({"layers." + std::to_string(i) + "/weight", DType::Fp32, Shape{i + 1, 3}});
  entries.push_back({"long", DType::Fp64, Shape{4'000'000}});
  write(1, 1, entries);
  SampleState state(entries, 1);
  const CheckpointPlan plan = plan_checkpoint(self_, state.tensors());
  const auto used =
      fs::file_size(store_.step_folder(1) / "state.h5") + fs::file_size(store_.step_folder(1) / "commit.json");
  EXPECT_LE(used, static_cast<std::size_t>(checkpoint_bytes_needed(plan.datasets, 30)));
}

TEST_F(Checkpoint, IsReadByPython) {
  write(3, 3);
  SampleState state(SampleState::small(), 3);
  std::string expected;
  for (std::byte byte : state.values()[0]) expected += std::to_string(std::to_integer<int>(byte)) + ",";
  std::ofstream(folder_.path() / "read.py")
      << "import h5py, json\nf = h5py.File('checkpoints/step-3/state.h5', 'r')\n"
      << "d = f['parameters/layers.0.weight']\nassert d.shape == (7, 5) and d.dtype == 'f4' and d.fletcher32\n"
      << "assert d[:].tobytes() == bytes([" << expected << "])\n"
      << "assert json.loads(f['metadata'][:].tobytes())['seed'] == 17\n"
      << "assert json.load(open('checkpoints/step-3/commit.json'))['datasets'][0]['shape'] == [7, 5]\n";
  EXPECT_EQ(std::system(("cd '" + folder_.path().string() + "' && /usr/bin/python3 read.py").c_str()), 0);
}

TEST_F(Checkpoint, NeverReturnsWrongValuesAfterABitFlip) {
  write(3, 3);
  std::mt19937_64 random(2026);
  int refused = 0, same = 0;
  for (const char* name : {"state.h5", "commit.json"}) {
    const fs::path path = store_.step_folder(3) / name;
    const std::string good = read_bytes(path);
    for (int flip = 0; flip < 700; ++flip) {
      std::string bad = good;
      const std::uint64_t bit = random() % (8 * good.size());
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      write_bytes(path, bad);
      const std::string result = outcome();
      ASSERT_NE(result, "different") << name << " bit " << bit;
      ++(result == "same" ? same : refused);
    }
    write_bytes(path, good);
  }
  EXPECT_EQ(outcome(), "same");
  EXPECT_GT(refused, 1000);  // the others lie in bytes of the file that hold nothing
  RecordProperty("harmless_flips", same);
}

TEST_F(Checkpoint, RefusesEveryTruncationAndAppendedBytes) {
  write(3, 3);
  std::mt19937_64 random(1);
  for (const char* name : {"state.h5", "commit.json"}) {
    const fs::path path = store_.step_folder(3) / name;
    const std::string good = read_bytes(path);
    for (int run = 0; run < 100; ++run) {
      write_bytes(path, good.substr(0, random() % (good.size() - 1)));
      const std::string result = outcome();
      ASSERT_NE(result, "different");
      ASSERT_NE(result, "same");
    }
    write_bytes(path, good + "{");
    EXPECT_THAT(outcome(), HasSubstr(name));
    write_bytes(path, good);
  }
}

TEST_F(Checkpoint, NoticesALostWriteThatFletcher32CannotSee) {
  write(3, 3);
  const fs::path path = store_.step_folder(3) / "state.h5";
  std::string bytes = read_bytes(path);
  SampleState state(SampleState::small(), 3);
  const auto& first = state.values()[0];
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(first.data()), first.size()));
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, first.size() + 4, std::string(first.size() + 4, '\0'));  // the chunk and its checksum
  write_bytes(path, bytes);
  const std::string result = outcome();
  EXPECT_THAT(result, HasSubstr("another digest"));
  EXPECT_THAT(result, HasSubstr("state.h5:parameters/layers.0.weight"));
}

TEST_F(Checkpoint, NoticesTwoTensorsThatChangedPlaces) {
  write(3, 3, {{"a", DType::Fp32, Shape{40}}, {"b", DType::Int64, Shape{20}}, {"c", DType::Fp32, Shape{40}}});
  const fs::path path = store_.step_folder(3) / "state.h5";
  std::ofstream(folder_.path() / "swap.py") << "import h5py\nf = h5py.File('" << path.string() << "', 'r+')\n"
                                            << "f.move('a', 't'); f.move('c', 'a'); f.move('t', 'c')\n";
  ASSERT_EQ(std::system(("/usr/bin/python3 " + (folder_.path() / "swap.py").string()).c_str()), 0);
  // Make the size right again, so that only the content can give the swap away.
  auto record = CheckpointRecord::from_json(read_bytes(store_.step_folder(3) / "commit.json"), "");
  record.file_bytes = static_cast<std::int64_t>(fs::file_size(path));
  write_bytes(store_.step_folder(3) / "commit.json", record.to_json());
  EXPECT_THAT(refusal_of([&] { CheckpointReader(store_.step_folder(3)).verify(self_); }), HasSubstr("another digest"));
}

TEST_F(Checkpoint, RefusesFilesOfAnotherStepAndRecordsThatAreEdited) {
  write(3, 3);
  write(4, 4);
  const fs::path record = store_.step_folder(3) / "commit.json";
  const std::string good = read_bytes(record);
  write_bytes(record, read_bytes(store_.step_folder(4) / "commit.json"));
  EXPECT_THAT(outcome(), HasSubstr("state.h5"));
  auto edited = nlohmann::json::parse(good);
  edited["step"] = 5;
  write_bytes(record, edited.dump());
  EXPECT_THAT(outcome(), HasSubstr("own digest"));
  write_bytes(record, std::string(100'000, '['));
  EXPECT_THAT(outcome(), HasSubstr("commit.json"));
  fs::remove(record);
  EXPECT_THAT(outcome(), HasSubstr("no commit record"));
  EXPECT_EQ(store_.newest_valid(self_), 4);
}

TEST_F(Checkpoint, FallsBackToTheNewestValidOneOnlyIfAsked) {
  write(1, 1);
  write(2, 2);
  const fs::path path = store_.step_folder(2) / "state.h5";
  std::string bytes = read_bytes(path);
  bytes[bytes.size() / 2] ^= 1;
  for (std::size_t at = 0; at < bytes.size(); at += 64) bytes[at] = static_cast<char>(bytes[at] ^ 1);
  write_bytes(path, bytes);
  EXPECT_EQ(store_.newest_valid(self_), 1);
  EXPECT_THAT(refusal_of([&] { store_.newest_valid(self_, false); }), HasSubstr("step-2/state.h5"));
  EXPECT_THAT(refusal_of([&] { store_.prune(self_, 1); }), HasSubstr("step-2/state.h5"));
  EXPECT_THAT(store_.steps(), ElementsAre(1, 2));  // the last valid one is still there
  fs::remove(store_.step_folder(1) / "commit.json");
  EXPECT_THAT(refusal_of([&] { store_.newest_valid(self_); }), HasSubstr("none of them is valid"));
}

TEST_F(Checkpoint, KeepsTheNewestWhenPruned) {
  for (std::int64_t step : {5, 10, 100, 20}) write(step, static_cast<std::uint64_t>(step));
  store_.prune(self_, 2);
  EXPECT_THAT(store_.steps(), ElementsAre(20, 100));
  store_.prune(self_, 2);
  EXPECT_THAT(store_.steps(), ElementsAre(20, 100));
  EXPECT_TRUE(holds(self_, store_.step_folder(20), SampleState::small(), 20));
}

TEST_F(Checkpoint, RemovesWhatAnInterruptedSaveLeft) {
  write(3, 3);
  fs::create_directories(store_.folder() / "step-4.partial");
  write_bytes(store_.folder() / "step-4.partial" / "state.h5", "half");
  fs::create_directories(store_.folder() / "notes.partial");
  store_.remove_leftovers(self_);
  EXPECT_FALSE(fs::exists(store_.folder() / "step-4.partial"));
  EXPECT_TRUE(fs::exists(store_.folder() / "notes.partial"));  // not ours
  EXPECT_EQ(outcome(), "same");
  EXPECT_EQ(CheckpointStore(folder_.path() / "nothing").newest_valid(self_), std::nullopt);
}

TEST_F(Checkpoint, ReplacesAnotherStateOfTheSameStep) {
  write(3, 99);
  write(3, 3);
  EXPECT_EQ(outcome(), "same");
  const auto before = fs::last_write_time(store_.step_folder(3) / "state.h5");
  write(3, 3);
  EXPECT_EQ(fs::last_write_time(store_.step_folder(3) / "state.h5"), before);  // the same state is not written again
  EXPECT_THAT(store_.steps(), ElementsAre(3));
  EXPECT_FALSE(fs::exists(store_.step_folder(3).string() + ".partial"));
}

TEST_F(Checkpoint, NamesTheTensorThatDoesNotFitTheModel) {
  write(3, 3);
  const CheckpointReader reader(store_.step_folder(3));
  std::vector<float> values(40);
  NamedTensor wanted{
      "parameters/layers.0.weight", Shape{8, 5}, DType::Fp32, 0, {values.data(), DType::Fp32, Shape{8, 5}}};
  EXPECT_THAT(refusal_of([&] { reader.read(self_, std::span(&wanted, 1)); }),
              ::testing::AllOf(HasSubstr("layers.0.weight"), HasSubstr("[7, 5]"), HasSubstr("[8, 5]")));
  wanted.name = "parameters/other";
  EXPECT_THAT(refusal_of([&] { reader.read(self_, std::span(&wanted, 1)); }), HasSubstr("no tensor of this name"));
}

TEST_F(Checkpoint, RefusesANewSaveWithoutRoomAndKeepsTheOldOne) {
  write(3, 3);
  const std::string refusal = refusal_of([&] { demand_free_space(store_.folder(), std::int64_t{1} << 60); });
  EXPECT_THAT(refusal, HasSubstr("1152921504606846976 bytes are needed"));
  EXPECT_THAT(refusal, HasSubstr(store_.folder().string()));
  EXPECT_EQ(outcome(), "same");
}

TEST(CheckpointNames, AreLimitedToWhatIsSafeInFiles) {
  for (const char* good : {"a", "parameters/layers.0.attention-qkv", "A_1", "metadata2"})
    EXPECT_TRUE(is_tensor_name(good)) << good;
  for (const char* bad : {"", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "metadata", "a b", "\xc3\xa4"}) {
    EXPECT_FALSE(is_tensor_name(bad)) << bad;
  }
}

}  // namespace
}  // namespace rondo::test
