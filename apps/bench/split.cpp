// SPDX-License-Identifier: Apache-2.0
// `rondo bench split`: the overhead of splitting attention into the blocks of a ring. All ranks of the ring are computed one
// after the other on one device, hop by hop with the carry and the sums of gradients, alternating with one call over the same
// tokens. Transfers are not included: see `rondo bench ring`.
#include <algorithm>
#include <memory>

#include "apps/bench/attention_shard.hpp"
#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/bench/tensors.hpp"

namespace rondo::bench {

namespace {

struct SplitOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"bf16"};
  HeadOptions heads;
  std::int64_t tokens = 2048, head_dim = 128;
  int hops = 4;
};

/// A sequence over the ranks of a ring that share one device; with one rank, the whole sequence is one call.
class VirtualRing {
 public:
  VirtualRing(Execution& execution, DType dtype, const AttentionShape& shape, int ring)
      : execution_(execution),
        layout_(shape.tokens, ring, balancing_layout(shape.causal, 0)),
        mask_({.causal = shape.causal}, shape.tokens),
        sequence_(execution, dtype, shape, layout_),
        blocks_(execution, mask_.view(), shape.head_dim) {
    for (int rank = 0; rank < ring; ++rank) schedules_.emplace_back(layout_, mask_.view(), rank);
    if (ring == 1) return;
    const Shape slot{layout_.max_tokens(), shape.kv_heads, shape.head_dim};
    d_k_ = Buffer(execution.device, accumulator_of(dtype), slot, MemoryUse::KeyValueSlots);
    d_v_ = Buffer(execution.device, accumulator_of(dtype), slot, MemoryUse::KeyValueSlots);
  }

  const AttentionSequence& sequence() const { return sequence_; }
  void empty_carry() const {
    for (const AttentionShard& shard : sequence_.shards()) blocks_.empty_carry(shard);
  }
  void zero_gradients() const {
    for (const AttentionShard& shard : sequence_.shards()) blocks_.zero_gradients(shard);
  }
  void forward() const {
    for_each_hop(
        [this](const AttentionShard& queries, const AttentionShard& keys, bool) { blocks_.forward(queries, keys); });
  }
  void backward() const {
    for (const AttentionShard& shard : sequence_.shards()) blocks_.delta(shard);
    for_each_hop([this](const AttentionShard& queries, const AttentionShard& keys, bool is_own) {
      if (is_own) return blocks_.backward(queries, keys, {keys.d_k, keys.d_v});
      // As in RingAttention: the gradients of a hop start from zero and are added to the travelling sum.
      const KeyValue hop{d_k_.view().rows(0, keys.k.shape[0]), d_v_.view().rows(0, keys.k.shape[0])};
      for (const TensorView& sum : {hop.k, hop.v}) {
        execution_.device.fill_zero(execution_.compute, sum.data, sum.size_bytes());
      }
      blocks_.backward(queries, keys, hop);
      execution_.backend.add(execution_.compute, {hop.k, keys.d_k});
      execution_.backend.add(execution_.compute, {hop.v, keys.d_v});
    });
  }
  void both() const {
    empty_carry();
    zero_gradients();
    forward();
    backward();
  }

 private:
  template <typename Action> void for_each_hop(Action action) const {
    const std::vector<AttentionShard>& shards = sequence_.shards();
    for (std::size_t rank = 0; rank < shards.size(); ++rank) {
      for (const Hop& hop : schedules_[rank].hops()) {
        if (hop.work) action(shards[rank], shards[static_cast<std::size_t>(hop.shard)], hop.distance == 0);
      }
    }
  }

  Execution& execution_;
  SequenceLayout layout_;
  AttentionMask mask_;
  AttentionSequence sequence_;
  AttentionBlocks blocks_;
  std::vector<RingSchedule> schedules_;
  Buffer d_k_, d_v_;  // gradients of one hop
};

/// Compares the split sequence on the device with the whole one on the reference backend, at most 64 tokens per hop.
std::string check_split(Execution& execution, DType dtype, AttentionShape shape, int hops) {
  shape.tokens = std::min<std::int64_t>(shape.tokens, 64L * hops);
  Runtime specification(Communicator::self(), reference_options());
  Execution& reference = specification.execution();
  const VirtualRing result(execution, dtype, shape, hops);
  const VirtualRing plain(reference, dtype, shape, 1), exact(reference, DType::Fp64, shape, 1);
  result.sequence().fill(execution);
  // The whole sequence has the same tokens, in the order of the sequence.
  const auto hand_over = [&](Buffer AttentionSequence::*input) {
    const std::vector<double> values =
        result.sequence().in_order(values_of(execution, (result.sequence().*input).view()));
    const TensorView to = (exact.sequence().*input).view();
    std::ranges::copy(values, to.as<double>());
    reference.backend.convert(reference.compute, {.from = to, .to = (plain.sequence().*input).view()});
  };
  for (const auto input :
       {&AttentionSequence::q, &AttentionSequence::k, &AttentionSequence::v, &AttentionSequence::d_out}) {
    hand_over(input);
  }
  result.both();
  plain.both();
  exact.both();
  for (const auto output :
       {&AttentionSequence::out, &AttentionSequence::d_q, &AttentionSequence::d_k, &AttentionSequence::d_v}) {
    const TensorView& view = (result.sequence().*output).view();
    const std::string verdict = check_against(result.sequence().in_order(values_of(execution, view)),
                                              values_of(reference, (plain.sequence().*output).view()),
                                              values_of(reference, (exact.sequence().*output).view()), view.dtype);
    if (verdict != "right") return verdict;
  }
  return "right";
}

/// Median over the runs of split time / whole time - 1.
double overhead(const Timing& cut, const Timing& whole) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < cut.seconds.size(); ++i) ratios.push_back(cut.seconds[i] / whole.seconds[i] - 1);
  return median(ratios);
}

void add_results(Execution& execution, const SplitOptions& options, const Peak& peak, const AttentionShape& shape,
                 std::vector<Result>& results) {
  const std::string checked = options.run.check ? check_split(execution, peak.dtype, shape, options.hops) : "";
  const VirtualRing cut(execution, peak.dtype, shape, options.hops), whole(execution, peak.dtype, shape, 1);
  for (const VirtualRing* ring : {&cut, &whole}) {
    ring->sequence().fill(execution);
    ring->both();
  }
  using Member = void (VirtualRing::*)() const;
  const auto add = [&](AttentionPass pass, Member prepare, Member body) {
    const auto contender = [&](const VirtualRing& ring) {
      return Contender{[&ring, prepare] { (ring.*prepare)(); }, [&ring, body] { (ring.*body)(); }};
    };
    const std::vector<Contender> contenders{contender(cut), contender(whole)};
    const std::vector<Timing> timings = measure_in_turns(execution, options.run, contenders);
    Result result = attention_result(pass, shape, peak, options.run);
    result.parameters["hops"] = options.hops;
    result.timing = timings[0];
    result.checked = checked;
    result.figures = {{"one_call_ms", 1e3 * timings[1].median_s()}, {"overhead", overhead(timings[0], timings[1])}};
    results.push_back(std::move(result));
  };
  add(AttentionPass::Forward, &VirtualRing::empty_carry, &VirtualRing::forward);
  add(AttentionPass::Backward, &VirtualRing::zero_gradients, &VirtualRing::backward);
}

int run(const SplitOptions& options) {
  const AttentionShape shape = checked_shape(options.heads, options.tokens * options.hops, options.head_dim);
  Runtime runtime(Communicator::self(), machine_options(options.run));
  std::vector<Peak> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    peaks.push_back(measure_peak(runtime, dtype_from(name), options.run));
    add_results(runtime.execution(), options, peaks.back(), shape, results);
  }
  report("split", options.run, runtime, peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_split(Program& program, CLI::App& group) {
  auto options = std::make_shared<SplitOptions>();
  CLI::App* command = add_command(program, group,
                                  {"split", "Attention in the blocks of a ring on one device, against one call.",
                                   "rondo bench split --hops 4 --tokens 2048"},
                                  [options] { return run(*options); });
  add_dtype_option(*command, options->dtypes);
  command->add_option("--hops", options->hops, "ranks of the ring, so many hops each")->check(CLI::Range(2, 1024));
  command->add_option("--tokens", options->tokens, "of one hop")->check(CLI::Range(1, 1 << 24));
  command->add_option("--head-dim", options->head_dim, "dimensions of a head")->check(CLI::Range(1, 1024));
  add_head_options(*command, options->heads);
  add_device_options(*command, options->run);
  add_attention_options(*command, options->run);
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
