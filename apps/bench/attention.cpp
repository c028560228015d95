// SPDX-License-Identifier: Apache-2.0
// `rondo bench attention`: the fused attention kernels, forward and backward, with the whole sequence as one block.
#include <algorithm>
#include <memory>

#include "apps/bench/attention_shard.hpp"
#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/bench/tensors.hpp"

namespace rondo::bench {

namespace {

struct AttentionOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32", "bf16"};
  std::vector<std::int64_t> head_dims{64, 128}, tokens{8192};
  HeadOptions heads;
};

/// A sequence that is one block.
struct Block {
  Block(Execution& execution, DType dtype, const AttentionShape& shape)
      : sequence(execution, dtype, shape, {shape.tokens, 1, LayoutKind::Contiguous}),
        mask({.causal = shape.causal}, shape.tokens),
        blocks(execution, mask.view(), shape.head_dim) {}

  const AttentionShard& all() const { return sequence.shards().front(); }
  void clear() const {
    blocks.empty_carry(all());
    blocks.zero_gradients(all());
  }
  void forward() const { blocks.forward(all(), all()); }
  void backward() const {
    blocks.delta(all());
    blocks.backward(all(), all(), {all().d_k, all().d_v});
  }
  void both() const {
    clear();
    forward();
    backward();
  }

  AttentionSequence sequence;
  AttentionMask mask;
  AttentionBlocks blocks;
};

/// Checks the kernels on at most 512 tokens, since the reference is slow.
std::string check_attention(Execution& execution, DType dtype, AttentionShape shape) {
  shape.tokens = std::min<std::int64_t>(shape.tokens, 512);
  Runtime specification(Communicator::self(), reference_options());
  Execution& reference = specification.execution();
  const Block result(execution, dtype, shape), plain(reference, dtype, shape), exact(reference, DType::Fp64, shape);
  result.sequence.fill(execution);
  plain.sequence.fill(reference);
  for (const auto input : {&AttentionShard::q, &AttentionShard::k, &AttentionShard::v, &AttentionShard::d_out}) {
    reference.backend.convert(reference.compute, {.from = plain.all().*input, .to = exact.all().*input});
  }
  result.both();
  plain.both();
  exact.both();
  for (const auto output :
       {&AttentionShard::out, &AttentionShard::lse, &AttentionShard::d_q, &AttentionShard::d_k, &AttentionShard::d_v}) {
    const TensorView& view = result.all().*output;
    const std::string verdict = check_against(values_of(execution, view), values_of(reference, plain.all().*output),
                                              values_of(reference, exact.all().*output), view.dtype);
    if (verdict != "right") return verdict;
  }
  return "right";
}

void add_results(Execution& execution, const RunOptions& options, const Peak& peak, const AttentionShape& shape,
                 std::vector<Result>& results) {
  const Block block(execution, peak.dtype, shape);
  block.sequence.fill(execution);
  block.both();
  const std::string checked = options.check ? check_attention(execution, peak.dtype, shape) : "";
  const auto add = [&](AttentionPass pass, const Contender& contender) {
    Result result = attention_result(pass, shape, peak, options);
    result.timing = measure(execution, options, contender);
    result.checked = checked;
    results.push_back(std::move(result));
  };
  add(AttentionPass::Forward, {[&] { block.blocks.empty_carry(block.all()); }, [&] { block.forward(); }});
  add(AttentionPass::Backward, {[&] { block.blocks.zero_gradients(block.all()); }, [&] { block.backward(); }});
}

int run(const AttentionOptions& options) {
  Runtime runtime(Communicator::self(), machine_options(options.run));
  std::vector<Peak> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    peaks.push_back(measure_peak(runtime, dtype_from(name), options.run));
    for (const std::int64_t head_dim : options.head_dims) {
      for (const std::int64_t tokens : options.tokens) {
        const AttentionShape shape = checked_shape(options.heads, tokens, head_dim);
        add_results(runtime.execution(), options.run, peaks.back(), shape, results);
      }
    }
  }
  report("attention", options.run, runtime, peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_attention(Program& program, CLI::App& group) {
  auto options = std::make_shared<AttentionOptions>();
  CLI::App* command = add_command(program, group,
                                  {"attention", "The fused attention kernels, forward and backward.",
                                   "rondo bench attention --dtype bf16 --head-dim 64,128 --tokens 8192"},
                                  [options] { return run(*options); });
  add_dtype_option(*command, options->dtypes);
  command->add_option("--head-dim", options->head_dims, "dimensions of a head")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->type_name("D");
  command->add_option("--tokens", options->tokens, "queries and keys")->delimiter(',')->check(CLI::Range(1, 1 << 24));
  add_head_options(*command, options->heads);
  add_device_options(*command, options->run);
  add_attention_options(*command, options->run);
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
