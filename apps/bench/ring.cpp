// SPDX-License-Identifier: Apache-2.0
// `rondo bench ring`: Ring Attention over the ranks of this launch, and separately its arithmetic and its transfers, which
// shows how much communication is exposed.
#include <cmath>
#include <memory>

#include "apps/bench/attention_shard.hpp"
#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/ranks.hpp"

namespace rondo::bench {

namespace {

struct RingOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32"};
  std::string layout = "auto", pass = "both";
  HeadOptions heads{.heads = 8};
  std::int64_t tokens = 8192, head_dim = 64, window = 0;
};

/// A transport that moves nothing: with it, a ring pass is only its arithmetic.
class StillTransport final : public Transport {
 public:
  explicit StillTransport(const Transport& like) : rank_(like.rank()), size_(like.size()) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Pending send_recv(Stream&, std::span<const Message>, std::span<const Message>) override { return {}; }
  void all_reduce(Stream&, const TensorView&, Arena&) override {}
  void broadcast(Stream&, const TensorView&, int) override {}
  void progress() override {}

 private:
  void wait(std::uint64_t, Stream&) override {}
  int rank_, size_;
};

/// Only the messages of a pass: each hop's exchange completes before the next one begins.
class Transfers {
 public:
  Transfers(Execution& execution, const Span& span, const AttentionShape& shape, DType dtype)
      : execution_(execution),
        span_(span),
        out_(slots(dtype, shape)),
        in_(slots(dtype, shape)),
        sum_out_(slots(accumulator_of(dtype), shape)),
        sum_in_(slots(accumulator_of(dtype), shape)),
        home_(slots(accumulator_of(dtype), shape)) {}

  void forward() {
    const std::vector<Hop>& hops = span_.schedule().hops();
    for (std::size_t h = 0; h + 1 < hops.size(); ++h) move_keys(hops[h]);
  }
  void backward() {
    const std::vector<Hop>& hops = span_.schedule().hops();
    for (std::size_t h = 0; h < hops.size(); ++h) {
      if (h + 1 < hops.size()) move_keys(hops[h]);
      move_gradients(hops[h]);
    }
    move_gradients(span_.schedule().last_gradients());
  }

 private:
  Buffer slots(DType dtype, const AttentionShape& shape) const {
    const Shape both{2 * span_.layout().max_tokens(), shape.kv_heads, shape.head_dim};
    return {execution_.device, dtype, both, MemoryUse::KeyValueSlots};
  }
  // Keys and values as one message, since only the number of bytes matters here.
  void list(std::vector<Message>& messages, int peer, const Buffer& slot, int shard) const {
    if (peer != Hop::kNobody) messages.push_back({peer, slot.view().rows(0, 2 * span_.layout().num_tokens(shard))});
  }
  void move_keys(const Hop& hop) {
    std::vector<Message> sends, receives;
    list(sends, hop.send_to, out_, hop.shard);
    list(receives, hop.receive_from, in_, hop.receive_shard);
    exchange(sends, receives);
  }
  void move_gradients(const Hop& hop) {
    std::vector<Message> sends, receives;
    list(sends, hop.send_gradient_to, sum_out_, hop.gradient_shard);
    list(receives, hop.receive_gradient_from, sum_in_, hop.shard);
    list(receives, hop.receive_own_gradient_from, home_, execution_.ring.rank());
    exchange(sends, receives);
  }
  void exchange(std::span<const Message> sends, std::span<const Message> receives) {
    Pending moved = execution_.ring.transport.send_recv(execution_.compute, sends, receives);
    moved.wait(execution_.compute);
  }

  Execution& execution_;
  const Span& span_;
  Buffer out_, in_, sum_out_, sum_in_, home_;
};

/// One pass, timed in three ways: complete, arithmetic only, transfers only.
struct Pass {
  const char* name;
  double flop_factor;
  std::function<void(RingAttention&)> compute;
  std::function<void()> transfer;
};

Result time_pass(Runtime& runtime, const RingOptions& options, const AttentionShape& shape, const Span& span,
                 const AttentionShard& shard, const Pass& pass) {
  Execution& execution = runtime.execution();
  const Communicator& world = runtime.world();
  StillTransport still(execution.ring.transport);
  Execution alone{
      execution.device, execution.backend, execution.compute, execution.scratch, {still, execution.compute}};
  const double scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  RingAttention ring(execution, scale), arithmetic(alone, scale);
  // Backward needs the carry of a forward pass; forward starts with an empty one.
  const SoftmaxCarry carry{shard.out, shard.lse};
  RingAttention::empty_carry(execution, carry);
  ring.forward(span, shard.q, {shard.k, shard.v}, carry);
  const auto prepare = [&] {
    if (pass.flop_factor == 1) RingAttention::empty_carry(execution, carry);
  };

  Transport& transport = execution.ring.transport;
  execution.device.synchronize(execution.compute);
  const std::uint64_t sent_before = transport.sent_bytes();
  std::vector<double> waited;  // total exposed time before each pass
  const Timing wall = measure_on_ranks(runtime, options.run,
                                       {[&] {
                                          prepare();
                                          waited.push_back(transport.exposed_s());
                                        },
                                        [&] { pass.compute(ring); }});
  const auto num_passes = static_cast<std::int64_t>(waited.size());
  waited.push_back(transport.exposed_s());
  const std::int64_t sent = world.max(static_cast<std::int64_t>(transport.sent_bytes() - sent_before)) / num_passes;
  std::vector<double> exposed;
  for (std::size_t i = static_cast<std::size_t>(options.run.warm_ups); i + 1 < waited.size(); ++i) {
    const std::int64_t of_rank = std::llround(1e9 * (waited[i + 1] - waited[i]));
    exposed.push_back(1e-9 * static_cast<double>(world.max(of_rank)));  // the longest wait
  }
  const Timing arithmetic_alone = measure_on_ranks(runtime, options.run, {prepare, [&] { pass.compute(arithmetic); }});
  const Timing transfer_alone = measure_on_ranks(runtime, options.run, {[] {}, pass.transfer});
  double pairs = 0;
  for (const double of_rank : world.all_gather(span.attended_pairs(span.mask()))) pairs += of_rank;
  return {.parameters = {{"dtype", name_of(shard.q.dtype)},
                         {"layout", name_of(span.layout().kind())},
                         {"tokens", options.tokens},
                         {"heads", shape.heads},
                         {"kv_heads", shape.kv_heads},
                         {"head_dim", shape.head_dim},
                         {"causal", shape.causal},
                         {"window", options.window},
                         {"hops", span.schedule().hops().size()},
                         {"pass", pass.name}},
          .formula = "forward 4 N D for each query and key that attend, backward 2.5 times that",
          .flop = pass.flop_factor * 4 * pairs * static_cast<double>(shape.heads * shape.head_dim),
          .timing = wall,
          .figures = {{"arithmetic_alone_ms", 1e3 * arithmetic_alone.median_s()},
                      {"transfer_alone_ms", 1e3 * transfer_alone.median_s()},
                      {"exposed_communication_ms", 1e3 * median(exposed)},
                      {"sent_bytes", sent}}};
}

// Throws ConfigError, agreed by all ranks.
AttentionShape checked_options(const Communicator& world, const RingOptions& options) {
  AttentionShape shape{};
  agree_on(world, [&] {
    shape = checked_shape(options.heads, options.tokens, options.head_dim);
    if (options.tokens < world.size()) {
      throw ConfigError("there are fewer tokens than ranks", "--tokens", "give at least one token for each rank");
    }
    for (const std::string& name : options.dtypes) dtype_from(name);
  });
  return shape;
}

int run(MpiSession& session, const RingOptions& options) {
  const Communicator& world = session.world();
  AttentionShape shape = checked_options(world, options);
  const LayoutKind kind =
      options.layout == "auto" ? balancing_layout(shape.causal, options.window) : layout_kind_from(options.layout);
  Runtime runtime(world, machine_options(options.run));
  Execution& execution = runtime.execution();
  const SequenceLayout layout(options.tokens, world.size(), kind);
  const Span span(layout, {.causal = shape.causal, .window = options.window}, world.rank());
  shape.tokens = span.num_tokens();  // from here on, tokens of this rank's shard
  std::vector<Peak> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    const DType dtype = dtype_from(name);
    if (options.run.peak) peaks.push_back(measure_peak(runtime, dtype, options.run));
    const AttentionSequence sequence(execution, dtype, shape, {shape.tokens, 1, LayoutKind::Contiguous});
    sequence.fill(execution);
    const AttentionShard& shard = sequence.shards().front();
    Transfers transfers(execution, span, shape, dtype);
    const KeyValue own{shard.k, shard.v}, d_own{shard.d_k, shard.d_v};
    const SoftmaxCarry carry{shard.out, shard.lse};
    const std::vector<Pass> passes{
        {"forward", 1, [&](RingAttention& r) { r.forward(span, shard.q, own, carry); }, [&] { transfers.forward(); }},
        {"backward", 2.5,
         [&](RingAttention& r) {
           r.backward(span, shard.q, own, {carry, shard.d_out, shard.d_q, d_own});
         },
         [&] { transfers.backward(); }}};
    for (const Pass& pass : passes) {
      if (options.pass != "both" && options.pass != pass.name) continue;
      results.push_back(time_pass(runtime, options, shape, span, shard, pass));
      if (options.run.peak) results.back().peak_flops_per_s = peaks.back().flops_per_s;
    }
  }
  if (world.rank() == 0) report("ring", options.run, runtime, peaks, results);
  return 0;
}

}  // namespace

void add_ring(Program& program, CLI::App& group) {
  auto options = std::make_shared<RingOptions>();
  CLI::App* command =
      add_command(program, group,
                  {"ring", "Ring Attention over the ranks: as it is, its arithmetic alone, its transfers alone.",
                   "mpirun -n 2 rondo bench ring --tokens 8192 --heads 8 --head-dim 64"},
                  [options] { return run_on_ranks([&](MpiSession& session) { return run(session, *options); }); });
  add_dtype_option(*command, options->dtypes);
  command->add_option("--tokens", options->tokens, "of the sequence, over all ranks")->check(CLI::Range(1, 1 << 24));
  command->add_option("--head-dim", options->head_dim, "dimensions of a head")->check(CLI::Range(1, 1024));
  command->add_option("--layout", options->layout, "auto, contiguous, zigzag, striped or block_cyclic")
      ->type_name("LAYOUT");
  command->add_option("--window", options->window, "a query sees keys with 0 <= i - j < W; 0: no window")
      ->check(CLI::Range(0, 1 << 24))
      ->type_name("W");
  command->add_option("--pass", options->pass, "which of the two, or both")
      ->check(CLI::IsMember({"forward", "backward", "both"}));
  add_head_options(*command, options->heads);
  command->add_option("--transport", options->run.transport, "as parallel.transport, between GPUs")
      ->check(CLI::IsMember({"auto", "mpi", "nccl"}))
      ->type_name("TRANSPORT");
  add_device_options(*command, options->run);
  add_attention_options(*command, options->run);
  add_peak_option(*command, options->run);
  add_run_options(*command, options->run);
}

}  // namespace rondo::bench
