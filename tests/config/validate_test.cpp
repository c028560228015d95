// SPDX-License-Identifier: Apache-2.0
#include "config/validate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

#include "config/resolve.hpp"
#include "tests/config/sample.hpp"

namespace rondo::test {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct BrokenRule {
  std::vector<std::string> overrides;
  int world_size;
  const char* message;
};

void PrintTo(const BrokenRule& rule, std::ostream* out) { *out << rule.message; }

class BrokenRules : public ::testing::TestWithParam<BrokenRule> {};

TEST_P(BrokenRules, AreReportedWithTheComputedNumbersAndAFix) {
  EXPECT_THAT(problems_of(kSample, GetParam().overrides, GetParam().world_size), ElementsAre(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Validate, BrokenRules,
    ::testing::Values(
        BrokenRule{{"model.kv_heads=3"},
                   1,
                   "--set model.kv_heads=3: model.heads (4) must be a multiple of model.kv_heads (3)\n"
                   "    fix: set model.kv_heads to one of 1, 2, 4"},
        BrokenRule{{"model.kv_heads=8"},
                   1,
                   "--set model.kv_heads=8: model.heads (4) must be a multiple of model.kv_heads (8)\n"
                   "    fix: set model.kv_heads to one of 1, 2, 4"},
        BrokenRule{{"model.d_model=66"},
                   1,
                   "a.toml:4:9: model.d_model / model.heads = 66 / 4 is no whole number, and model.head_dim is not "
                   "given\n    fix: set model.head_dim, which may be chosen freely, or a number of heads that divides "
                   "d_model"},
        BrokenRule{{"model.d_model=60"},
                   1,
                   "a.toml:4:9: model.head_dim must be even, since rotary embeddings turn pairs, but is 15 = 60 / 4\n"
                   "    fix: set model.head_dim to 14 or 16"},
        BrokenRule{{"model.head_dim=33"},
                   1,
                   "--set model.head_dim=33: model.head_dim must be even, since rotary embeddings turn pairs, but is "
                   "33\n    fix: set model.head_dim to 32 or 34"},
        BrokenRule{{"model.attention=infini", "model.window=8"},
                   1,
                   "--set model.window=8: model.window does not go with \"infini\" layers, whose window is counted in "
                   "segments\n    fix: remove model.window and set model.window_segments"},
        BrokenRule{{"model.attention=infini", "parallel.layout=striped"},
                   1,
                   "--set parallel.layout=striped: parallel.layout = \"striped\" gives every rank a part of every "
                   "segment, which a memory cannot be made of\n    fix: set parallel.layout to \"auto\" or "
                   "\"contiguous\""},
        BrokenRule{
            {"model.attention=[\"infini\", \"exact\"]", "memory.span_tokens=1024"},
            1,
            "--set memory.span_tokens=1024: memory.span_tokens needs a model of \"infini\" layers alone: \"exact\" "
            "attention sees the whole sequence at once\n    fix: set memory.span_tokens to 0, or "
            "model.attention to \"infini\""},
        BrokenRule{{"model.attention=infini", "model.segment_tokens=48", "memory.span_tokens=100"},
                   1,
                   "--set memory.span_tokens=100: memory.span_tokens (100) must be a multiple of model.segment_tokens "
                   "(48)\n    fix: set memory.span_tokens to 144"},
        BrokenRule{
            {"model.attention=[\"exact\", \"exact\", \"exact\"]"},
            1,
            "--set model.attention=[\"exact\", \"exact\", \"exact\"]: model.attention lists 3 kinds for 2 layers\n"
            "    fix: list at most 2; the list is repeated over the layers"},
        BrokenRule{{"model.rope_scaling_factor=8"},
                   1,
                   "--set model.rope_scaling_factor=8: model.rope_scaling_factor is 8, but model.rope_scaling is "
                   "\"none\"\n    fix: set model.rope_scaling to \"linear\" or \"llama3\", or remove the factor"},
        BrokenRule{{"model.rope_scaling=linear"},
                   1,
                   "--set model.rope_scaling=linear: model.rope_scaling = \"linear\" needs a model.rope_scaling_factor "
                   "> 1\n    fix: set the factor, e.g. 8.0 for eight times the first sequence length"},
        BrokenRule{{"model.rope_low_frequency_factor=4"},
                   1,
                   "--set model.rope_low_frequency_factor=4: model.rope_low_frequency_factor (4) must be less than "
                   "model.rope_high_frequency_factor (4)\n    fix: LLaMA 3 uses 1.0 and 4.0"},
        BrokenRule{{"train.warmup_steps=11"},
                   1,
                   "--set train.warmup_steps=11: train.warmup_steps (11) must be at most train.steps (10)\n"
                   "    fix: set train.warmup_steps to 1 or so"},
        BrokenRule{{"precision.compute=fp64", "parallel.device=cpu"},
                   1,
                   "--set precision.compute=fp64: precision.compute = \"fp64\" does not run on parallel.device = "
                   "\"cpu\"\n    fix: set parallel.device to \"reference\", or precision.compute to \"fp32\""},
        BrokenRule{{"parallel.transport=nccl", "parallel.device=reference"},
                   1,
                   "--set parallel.transport=nccl: parallel.transport = \"nccl\" moves data between GPUs, but "
                   "parallel.device is \"reference\"\n    fix: set parallel.transport to \"auto\" or \"mpi\""},
        BrokenRule{{"data.sequence_length=7"},
                   8,
                   "--set data.sequence_length=7: data.sequence_length (7) is less than the 8 ranks of the ring: every "
                   "rank needs at least one token\n    fix: use a sequence of at least 8 tokens, or a ring of fewer "
                   "ranks"},
        BrokenRule{{"parallel.ring=4"},
                   6,
                   "--set parallel.ring=4: 6 ranks cannot be divided into rings of parallel.ring = 4\n"
                   "    fix: start a multiple of 4 ranks, or set parallel.ring to one of 1, 2, 3, 6"},
        BrokenRule{{"parallel.ring=4"},
                   2,
                   "--set parallel.ring=4: 2 ranks cannot be divided into rings of parallel.ring = 4\n"
                   "    fix: start a multiple of 4 ranks, or set parallel.ring to one of 1, 2"},
        BrokenRule{{"parallel.ring=2", "train.batch_sequences=4"},
                   6,
                   "--set train.batch_sequences=4: train.batch_sequences (4) must be a multiple of the 3 rings that 6 "
                   "ranks form with parallel.ring = 2\n    fix: set train.batch_sequences to 6, or parallel.ring to "
                   "\"all\""}));

TEST(Validate, AcceptsTheSampleOnAnyNumberOfRanks) {
  for (int ranks = 0; ranks <= 256; ++ranks) EXPECT_THAT(problems_of(kSample, {}, ranks), IsEmpty()) << ranks;
}

TEST(Validate, LeavesOutRulesAboutKeysThatCouldNotBeRead) {
  // kv_heads = 3 breaks no rule with 4 heads as long as the number of heads is in doubt.
  const auto problems = problems_of(kSample, {"model.heads=\"x\"", "model.kv_heads=3"}, 1);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_THAT(problems[0], HasSubstr("model.heads must be"));
}

TEST(Validate, RefusesSizesThatWouldOverflow) {
  const auto huge = problems_of(kSample,
                                {"model.layers=10000", "model.d_model=1048576", "model.heads=65536",
                                 "model.head_dim=65536", "data.sequence_length=1099511627776"},
                                1);
  ASSERT_EQ(huge.size(), 2U);
  EXPECT_THAT(huge[0], HasSubstr("more than the 1e+15 that Rondo counts"));
  EXPECT_THAT(huge[1], HasSubstr("more than the 1e+17 that Rondo counts"));
  EXPECT_EQ(problems_of(kSample, {"train.steps=1099511627776", "train.batch_sequences=2147483647"}, 1).size(), 1U);
}

TEST(Validate, IsSafeOnAnyValues) {
  RunConfig empty;
  EXPECT_NO_THROW(validate(empty, 0));
  RunConfig odd = sample();
  odd.parallel.ring = -1;
  odd.model.heads = -4;
  odd.model.kv_heads = -2;
  odd.model.attention.clear();
  odd.train.batch_sequences = 0;
  odd.data.sequence_length = std::numeric_limits<std::int64_t>::max();
  EXPECT_NO_THROW(validate(odd, 7));
}

TEST(Resolve, ComputesTheSizesOfTheModel) {
  const ModelConfig model = resolve(sample({"model.kv_heads=0", "model.d_model=768", "model.heads=12"}).model);
  EXPECT_EQ(model.kv_heads, 12);
  EXPECT_EQ(model.head_dim, 64);
  EXPECT_EQ(model.d_ff, 2048);
  EXPECT_EQ(resolve(sample({"model.d_model=100", "model.heads=2"}).model).d_ff, 320);  // 266.7 -> 320
  EXPECT_EQ(resolve(sample({"model.head_dim=10"}).model).head_dim, 10);
}

TEST(Resolve, ChoosesLayoutDevicePrecisionAndTransport) {
  const RunConfig on_cpu = resolve(sample(), {.world_size = 4, .vocabulary_size = 256});
  EXPECT_EQ(on_cpu.parallel.ring, 4);
  EXPECT_EQ(on_cpu.parallel.layout, LayoutKind::Zigzag);
  EXPECT_EQ(on_cpu.parallel.device, DeviceChoice::Cpu);
  EXPECT_EQ(on_cpu.parallel.transport, TransportChoice::Mpi);
  EXPECT_EQ(on_cpu.precision.compute, ComputePrecision::Fp32);
  EXPECT_EQ(on_cpu.model.vocabulary_size, 256);

  EXPECT_EQ(resolve(sample(), {.has_bf16_units = true}).precision.compute, ComputePrecision::Bf16);
  const RunConfig on_gpu = resolve(sample(), {.world_size = 4, .has_cuda = true});
  EXPECT_EQ(on_gpu.parallel.device, DeviceChoice::Cuda);
  EXPECT_EQ(on_gpu.parallel.transport, TransportChoice::Nccl);
  EXPECT_EQ(on_gpu.precision.compute, ComputePrecision::Bf16);
  EXPECT_EQ(on_gpu.memory.ffn_chunk_tokens, 4096);
  EXPECT_EQ(on_gpu.memory.head_chunk_tokens, 4096);
  EXPECT_EQ(on_cpu.train.deterministic, true);
  EXPECT_EQ(on_gpu.train.deterministic, false);
  EXPECT_EQ(resolve(sample({"train.deterministic=true"}), {.has_cuda = true}).train.deterministic, true);
  EXPECT_EQ(resolve(sample({"train.deterministic=false"}), {}).train.deterministic, false);
  EXPECT_EQ(resolve(sample(), {}).memory.ffn_chunk_tokens, 1024);
  EXPECT_EQ(resolve(sample({"memory.ffn_chunk_tokens=64"}), {.has_cuda = true}).memory.ffn_chunk_tokens, 64);

  EXPECT_EQ(resolve(sample(), {.world_size = 1}).parallel.layout, LayoutKind::Contiguous);
  EXPECT_EQ(resolve(sample({"model.window=32"}), {.world_size = 4}).parallel.layout, LayoutKind::Contiguous);
  EXPECT_EQ(resolve(sample({"parallel.device=reference"}), {}).precision.compute, ComputePrecision::Fp64);
  EXPECT_EQ(resolve(sample({"precision.compute=fp64"}), {.has_cuda = true}).parallel.device, DeviceChoice::Reference);
}

TEST(Resolve, RefusesAVocabularySmallerThanTheCorpus) {
  EXPECT_THROW(resolve(sample({"model.vocabulary_size=100"}), {.vocabulary_size = 256}), ConfigProblems);
  EXPECT_EQ(resolve(sample({"model.vocabulary_size=300"}), {.vocabulary_size = 256}).model.vocabulary_size, 300);
}

TEST(Resolve, IsIdempotent) {
  const Surroundings surroundings{.world_size = 4, .vocabulary_size = 256, .has_bf16_units = true};
  const RunConfig once = resolve(sample(), surroundings);
  EXPECT_EQ(resolve(once, surroundings), once);
}

}  // namespace rondo::test
