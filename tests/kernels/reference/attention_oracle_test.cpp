// SPDX-License-Identifier: Apache-2.0
// Block attention of the reference backend against the dense NumPy program tests/oracle/attention.py.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/sequence_layout.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/support/attention.hpp"
#include "tests/support/npy.hpp"

namespace rondo::test {
namespace {

struct OracleCase {
  const char* name;
  std::int64_t tokens, heads, kv_heads, dim;
  AttentionMask::Rule rule;
  std::vector<std::int64_t> documents;
};

class AttentionOracle : public testing::TestWithParam<OracleCase> {
 protected:
  AttentionOracle() { std::filesystem::create_directories(folder); }
  ~AttentionOracle() override { std::filesystem::remove_all(folder); }

  AttentionResult ask(const AttentionInput& input, const OracleCase& c) {
    const std::string in = folder + "/in", out = folder + "/out";
    std::filesystem::create_directories(in);
    write_npy(in + "/q.npy", input.q);
    write_npy(in + "/k.npy", input.k);
    write_npy(in + "/v.npy", input.v);
    write_npy(in + "/d_out.npy", input.d_out);
    if (!c.documents.empty()) {
      const std::vector<double> offsets(c.documents.begin(), c.documents.end());
      const Tensor tensor(DType::Int64, {static_cast<std::int64_t>(offsets.size())}, offsets);
      write_npy(in + "/document_offsets.npy", tensor);
    }
    const std::string command = RONDO_PYTHON " " RONDO_TESTS "/oracle/attention.py " + in + " " + out +
                                (c.rule.causal ? " --causal" : "") + " --window " + std::to_string(c.rule.window);
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed (python3-numpy missing?): " + command);
    return {.out = read_npy(out + "/out.npy", input.q.shape()),
            .lse = read_npy(out + "/lse.npy", {c.heads, c.tokens}),
            .d_q = read_npy(out + "/d_q.npy", input.q.shape()),
            .d_k = read_npy(out + "/d_k.npy", input.k.shape()),
            .d_v = read_npy(out + "/d_v.npy", input.v.shape())};
  }

  std::string folder = testing::TempDir() + "rondo_attention_oracle_" + std::to_string(getpid());
};

TEST_P(AttentionOracle, AgreesWithBlocksOfEveryLayout) {
  const OracleCase& c = GetParam();
  const AttentionInput input = AttentionInput::random(DType::Fp64, c.tokens, c.heads, c.kv_heads, c.dim, 77);
  const AttentionResult expected = ask(input, c);
  const AttentionMask mask(c.rule, c.tokens, c.documents);
  const auto backend = make_reference_backend(cpu_device());
  for (const LayoutKind kind : kLayoutKinds) {
    const SequenceLayout layout(c.tokens, 3, kind);
    const std::vector<TokenRuns> shards{layout.runs(0), layout.runs(1), layout.runs(2)};
    const AttentionResult result =
        attention_by_blocks(*backend, input, mask, 1 / std::sqrt(static_cast<double>(c.dim)), shards, shards);
    // The bound that the project promises; sums of up to 131 terms of size 1 leave about 1e-14.
    EXPECT_LE(max_difference(result.out, expected.out), 1e-12);
    EXPECT_LE(max_difference(result.lse, expected.lse), 1e-12);
    EXPECT_LE(max_difference(result.d_q, expected.d_q), 1e-12);
    EXPECT_LE(max_difference(result.d_k, expected.d_k), 1e-12);
    EXPECT_LE(max_difference(result.d_v, expected.d_v), 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, AttentionOracle,
    testing::Values(OracleCase{"full", 61, 2, 2, 8, {.causal = false}, {}},
                    OracleCase{"causal_gqa", 131, 8, 1, 16, {.causal = true}, {}},
                    OracleCase{"window_gqa", 97, 4, 1, 12, {.causal = true, .window = 17}, {}},
                    OracleCase{"documents", 103, 4, 2, 8, {.causal = true}, {0, 1, 40, 41, 100, 103}},
                    OracleCase{"full_documents", 59, 2, 1, 5, {.causal = false}, {0, 30, 59}},
                    OracleCase{"window_documents", 89, 2, 2, 8, {.causal = true, .window = 9}, {0, 5, 50, 89}}),
    [](const testing::TestParamInfo<OracleCase>& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace rondo::test
