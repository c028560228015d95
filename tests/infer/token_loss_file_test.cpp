// SPDX-License-Identifier: Apache-2.0
#include "infer/token_loss_file.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5_file.hpp"
#include "tests/infer/small_model.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kDocuments{"the quick brown fox", "x", "jumps over the lazy dog, again and again"};
constexpr std::int64_t kTokens = 19 + 1 + 40;

struct Written {
  EvaluationResult result;
  std::vector<double> log_probabilities;
  std::vector<std::int64_t> document_offsets;
};

std::optional<OutputFile> output_at(const Communicator& world, const fs::path& path) {
  std::optional<OutputFile> output;
  if (world.rank() == 0) output.emplace(OutputRequest{path, "--per-token", TokenLossFile::kind()});
  return output;
}

// The path is that of rank 0; what it holds is given to all ranks.
Written evaluate_to_file(const Communicator& world, int ring, const EvaluationData& data,
                         const EvaluationOptions& options) {
  const ProcessGrid grid(world, ring);
  test::TestExecution execution(grid.ring());
  test::SmallModel model(execution.get(), test::small_shape(256));
  const fs::path path = fs::temp_directory_path() / ("rondo_token_loss_" + std::to_string(getpid()) + ".h5");
  TokenLossFile file(world, output_at(world, path), data, DType::Fp64);
  Evaluator evaluator(execution.get(), grid, model.transformer, data, options);
  Written written;
  written.result = evaluator.run([&](const TokenLosses& losses) { file.write(losses); });
  file.commit();
  EXPECT_FALSE(fs::exists(path.string() + ".partial"));
  if (world.rank() != 0) return written;
  {
    const Hdf5File read = Hdf5File::open(path);
    written.log_probabilities = read.open_dataset("log_probability").read_all<double>();
    written.document_offsets = read.open_dataset("document_offsets").read_all<std::int64_t>();
  }
  fs::remove(path);
  return written;
}

class TokenLossFileTest : public testing::Test {
 protected:
  test::SmallCorpus file_{ByteTokenizer(), kDocuments};
  TokenCorpus corpus_{file_.path()};
};

TEST_F(TokenLossFileTest, HoldsTokensWhoseSumIsTheLossInDocumentOrder) {
  const Communicator world = test::world(), self = Communicator::self();
  const EvaluationData data{corpus_, Split::Validation, 16, true};
  const Written alone = evaluate_to_file(self, 1, data, {});
  for (const LayoutKind layout : kLayoutKinds) {
    const Written shared = evaluate_to_file(world, world.size() % 2 == 0 ? 2 : 0, data, {.layout = layout});
    if (world.rank() != 0) continue;
    EXPECT_EQ(shared.document_offsets, (std::vector<std::int64_t>{0, 19, 20, kTokens}));
    ASSERT_EQ(shared.log_probabilities.size(), static_cast<std::size_t>(kTokens));
    double sum = 0;
    for (std::size_t i = 0; i < shared.log_probabilities.size(); ++i) {
      const bool begins_document = i == 0 || i == 19 || i == 20;
      ASSERT_EQ(std::isnan(shared.log_probabilities[i]), begins_document) << i;
      if (begins_document) continue;
      EXPECT_NEAR(shared.log_probabilities[i], alone.log_probabilities[i], 1e-12) << i;  // fp64, sums in another order
      sum += shared.log_probabilities[i];
    }
    EXPECT_NEAR(-sum / static_cast<double>(shared.result.num_targets), shared.result.loss, 1e-12);
  }
}

TEST_F(TokenLossFileTest, LeavesWhatWasNotEvaluatedUndefined) {
  const Communicator self = Communicator::self();
  const Written written =
      evaluate_to_file(self, 1, {corpus_, Split::Validation, 16, false}, {.max_sequences = 2});  // 0-15 and 32-47
  std::int64_t num_defined = 0;
  for (std::size_t i = 0; i < written.log_probabilities.size(); ++i) {
    const bool is_evaluated = (i >= 1 && i <= 16) || (i >= 33 && i <= 48);
    EXPECT_EQ(!std::isnan(written.log_probabilities[i]), is_evaluated) << i;
    num_defined += is_evaluated ? 1 : 0;
  }
  EXPECT_EQ(num_defined, written.result.num_targets);
}

TEST_F(TokenLossFileTest, LeavesNothingBehindWithoutCommit) {
  const Communicator self = Communicator::self();
  const fs::path path = fs::temp_directory_path() / ("rondo_token_loss_" + std::to_string(getpid()) + "_unfinished.h5");
  {
    const TokenLossFile file(self, output_at(self, path), {corpus_, Split::Validation, 16, true}, DType::Fp32);
    EXPECT_TRUE(fs::exists(path.string() + ".partial"));
  }
  EXPECT_FALSE(fs::exists(path.string() + ".partial"));
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(TokenLossFileTest, SaysOnAllRanksWhenItCannotBeWritten) {
  const Communicator world = test::world();
  const fs::path folder = fs::temp_directory_path() / ("rondo_token_loss_" + std::to_string(getpid()));
  fs::create_directory(folder);
  std::optional<OutputFile> output = output_at(world, folder / "x.h5");
  fs::remove(folder);
  EXPECT_THROW(TokenLossFile(world, std::move(output), {corpus_, Split::Validation, 16, true}, DType::Fp32),
               AgreedError);
}

}  // namespace
}  // namespace rondo
