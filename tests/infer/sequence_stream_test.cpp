// SPDX-License-Identifier: Apache-2.0
// A text fed piece by piece gives what training's forward pass gives for all of it at once.
#include "infer/sequence_stream.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

#include "infer/stream_file.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

constexpr std::int64_t kSegment = 4;

std::vector<test::ModelCase> stream_cases() {
  std::vector<test::ModelCase> cases = test::infini_cases();
  for (test::ModelCase& c : cases) c.documents.clear();
  cases.push_back(test::tiny_cases()[3]);  // exact attention alone
  return cases;
}

double loss_of(std::span<const double> logits, std::int32_t target) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - logits[static_cast<std::size_t>(target)]);
  return std::log(sum);
}

// A model, a text, and what training's forward pass says of each of its tokens.
class Text {
 public:
  explicit Text(const test::ModelCase& c)
      : case_(c), tokens_(test::tokens_of(c)), model_(execution_.get(), c, LayoutKind::Contiguous, DType::Fp64) {
    model_.evaluate();
  }

  SequenceStream stream(std::int64_t chunk_tokens = 512) {
    return SequenceStream(execution_.get(), model_.model(),
                          {.rule = case_.rule, .chunk_tokens = chunk_tokens, .capacity_tokens = case_.tokens});
  }
  std::span<const std::int32_t> tokens(std::int64_t first, std::int64_t count) const {
    return std::span(tokens_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  }
  std::int64_t num_tokens() const { return case_.tokens; }
  void expect_next(SequenceStream& stream) {
    const std::int64_t next = stream.num_tokens();
    if (next == num_tokens()) return;
    EXPECT_NEAR(loss_of(stream.next_logits(), tokens_[static_cast<std::size_t>(next)]), model_.losses()[next - 1],
                1e-12)
        << "behind token " << next;
  }
  /// From where the stream stands to the end, in pieces.
  void expect_rest(SequenceStream& stream, std::int64_t piece) {
    while (stream.num_tokens() < num_tokens()) {
      stream.feed(tokens(stream.num_tokens(), std::min(piece, num_tokens() - stream.num_tokens())));
      expect_next(stream);
    }
  }

 private:
  test::ModelCase case_;
  std::vector<std::int32_t> tokens_;
  test::TestExecution execution_{Communicator::self()};
  test::TinyModel model_;
};

TEST(SequenceStream, GivesTheLossesOfTrainingForAnyPieces) {
  for (const test::ModelCase& c : stream_cases()) {
    Text text(c);
    for (const std::int64_t piece : {std::int64_t{1}, std::int64_t{7}, kSegment, 3 * kSegment + 5, c.tokens}) {
      for (const std::int64_t chunk : {3, 512}) {
        SCOPED_TRACE(c.name + ", pieces of " + std::to_string(piece) + ", chunks of " + std::to_string(chunk));
        SequenceStream stream = text.stream(chunk);
        text.expect_rest(stream, piece);
      }
    }
  }
}

TEST(SequenceStream, HasOneSizeWithAMemory) {
  test::ModelCase c = test::infini_cases()[3];
  const std::int64_t bytes = Text(c).stream().state_bytes();
  c.tokens *= 10;
  EXPECT_EQ(Text(c).stream().state_bytes(), bytes);
}

TEST(SequenceStream, ForksAndIsRestored) {
  for (const test::ModelCase& c : stream_cases()) {
    SCOPED_TRACE(c.name);
    Text text(c);
    SequenceStream stream = text.stream();
    stream.feed(text.tokens(0, 18));
    const SequenceStream snapshot = stream.fork();
    stream.feed(text.tokens(3, 5));  // another text from here on
    SequenceStream other = snapshot.fork();
    text.expect_next(other);
    text.expect_rest(other, 5);
    stream.copy_from(snapshot);
    text.expect_next(stream);
    text.expect_rest(stream, 1);
    stream.reset();
    EXPECT_EQ(stream.num_tokens(), 0);
    text.expect_rest(stream, 7);
  }
}

TEST(SequenceStream, ForgetsAllButWhatIsInSight) {
  test::ModelCase c = test::infini_cases()[0];  // window 0: a query sees its own segment
  Text text(c);
  SequenceStream stream = text.stream(), fresh = text.stream();
  stream.feed(text.tokens(0, 16));
  fresh.feed(text.tokens(8, 8));
  stream.forget_memory();
  fresh.forget_memory();
  stream.feed(text.tokens(16, 3));
  fresh.feed(text.tokens(16, 3));
  for (std::int32_t id = 0; id < 11; ++id) {
    EXPECT_NEAR(loss_of(stream.next_logits(), id), loss_of(fresh.next_logits(), id), 1e-12);  // of relative positions
  }
  Text again(c);
  SequenceStream whole = again.stream();
  whole.feed(again.tokens(0, 19));
  EXPECT_GT(std::abs(loss_of(whole.next_logits(), 2) - loss_of(fresh.next_logits(), 2)), 1e-3);
}

TEST(SequenceStream, NamesATokenThatTheModelDoesNotKnow) {
  Text text(test::infini_cases()[0]);
  SequenceStream stream = text.stream();
  const std::vector<std::int32_t> unknown{1, 11};
  EXPECT_THROW(stream.feed(unknown), ConfigError);
  EXPECT_EQ(stream.num_tokens(), 0);
}

// Rank 0 alone goes on where all ranks have taken the text up.
TEST(SequenceStream, IsTakenUpByARing) {
  for (const int ranks : {1, 2, 3}) {
    test::with_ranks(ranks, [](const Communicator& group) {
      test::TestExecution ring(group);
      for (const test::ModelCase& c : stream_cases()) {
        const bool has_exact = c.shape.attention.front() == LayerAttention::Exact;
        if (has_exact && group.size() > 1) continue;
        SCOPED_TRACE(c.name);
        test::TinyModel model(ring.get(), c, LayoutKind::Contiguous, DType::Fp64);
        Text text(c);
        SequenceStream together(ring.get(), model.model(),
                                {.rule = c.rule, .chunk_tokens = 7, .capacity_tokens = c.tokens});
        together.feed(text.tokens(0, 11));
        together.feed(text.tokens(11, 10));
        SequenceStream alone = text.stream();
        alone.copy_from(together);
        text.expect_rest(alone, 2);
      }
    });
  }
}

class StreamFileTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("rondo-stream-" + std::to_string(::getpid()));
  std::filesystem::path path_ = folder_ / "state.h5";

  void write(const SequenceStream& stream, std::int64_t num_drawn) const {
    OutputFile output({path_, "--state-out", StreamFile::kind()});
    StreamFile::write(output, stream, "digest", num_drawn);
    EXPECT_LE(static_cast<std::int64_t>(std::filesystem::file_size(path_)), StreamFile::num_bytes(stream));
  }
};

TEST_F(StreamFileTest, GoesOnInAnotherProcessAsIfItWereThis) {
  for (const test::ModelCase& c : stream_cases()) {
    SCOPED_TRACE(c.name);
    Text text(c);
    SequenceStream stream = text.stream();
    stream.feed(text.tokens(0, 18));
    write(stream, 5);
    SequenceStream read = text.stream();
    const StreamFile::Record record = StreamFile::read(path_, "digest", read);
    EXPECT_EQ(record.num_tokens, 18);
    EXPECT_EQ(record.num_drawn, 5);
    text.expect_next(read);
    text.expect_rest(read, 5);
  }
}

TEST_F(StreamFileTest, RefusesWhatIsNotThisModels) {
  Text text(test::infini_cases()[3]);
  SequenceStream stream = text.stream();
  stream.feed(text.tokens(0, 18));
  write(stream, 0);
  EXPECT_THROW(StreamFile::read(path_, "another", stream), DataError);
  EXPECT_THROW(StreamFile::read_record(path_, "another"), DataError);
  EXPECT_EQ(StreamFile::read_record(path_, "digest").num_tokens, 18);
  EXPECT_EQ(stream.num_tokens(), 0);
  Text other(test::infini_cases()[0]);
  SequenceStream shorter_sight = other.stream();
  EXPECT_THROW(StreamFile::read(path_, "digest", shorter_sight), DataError);

  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_THROW(StreamFile::read(path_, "digest", stream), DataError);
  std::ofstream(folder_ / "text") << "no HDF5";
  EXPECT_THROW(StreamFile::read(folder_ / "text", "digest", stream), DataError);
  EXPECT_THROW(StreamFile::read(folder_ / "missing", "digest", stream), DataError);
}

}  // namespace
}  // namespace rondo
