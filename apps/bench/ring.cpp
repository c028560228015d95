// SPDX-License-Identifier: Apache-2.0
// `rondo bench ring`: Ring Attention over the ranks of this launch, beside its arithmetic alone and its transfers alone, so
// that what the arithmetic did not hide can be told.
#include <cmath>
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/ranks.hpp"
#include "config/parallel_config.hpp"
#include "model/ring_attention.hpp"
#include "runtime/runtime.hpp"

namespace rondo::bench {

namespace {

struct RingOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32"};
  std::string layout = "auto", pass = "both";
  std::int64_t tokens = 8192, heads = 8, kv_heads = 0, head_dim = 64, window = 0;
  bool full = false;
};

/// A transport that moves nothing: with it, a ring pass is its arithmetic alone.
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

/// The tensors of one rank's share.
struct Share {
  Share(Device& device, DType dtype, const Span& span, const RingOptions& o)
      : Share(device, dtype, accumulator_of(dtype), {span.num_tokens(), o.heads, o.head_dim},
              {span.num_tokens(), o.kv_heads, o.head_dim}) {
    std::uint64_t seed = 1;
    for (const Buffer* input : {&q, &k, &v, &d_out}) fill_random(input->view(), seed++);
  }
  Share(Device& device, DType dtype, DType sum, const Shape& queries, const Shape& keys)
      : q(device, dtype, queries, MemoryUse::Workspace),
        k(device, dtype, keys, MemoryUse::Workspace),
        v(device, dtype, keys, MemoryUse::Workspace),
        d_out(device, dtype, queries, MemoryUse::Workspace),
        out(device, sum, queries, MemoryUse::Workspace),
        lse(device, sum, {queries[1], queries[0]}, MemoryUse::Workspace),
        d_q(device, sum, queries, MemoryUse::Workspace),
        d_k(device, sum, keys, MemoryUse::Workspace),
        d_v(device, sum, keys, MemoryUse::Workspace) {}

  SoftmaxCarry carry() const { return {out.view(), lse.view()}; }
  void forward(RingAttention& ring, const Span& span) const {
    ring.forward(span, q.view(), {k.view(), v.view()}, carry());
  }
  void backward(RingAttention& ring, const Span& span) const {
    ring.backward(span, q.view(), {k.view(), v.view()}, carry(), d_out.view(), d_q.view(), {d_k.view(), d_v.view()});
  }

  Buffer q, k, v, d_out, out, lse, d_q, d_k, d_v;
};

/// The messages of a pass and nothing else: every hop's exchange, waited for before the next begins.
class Transfers {
 public:
  Transfers(Execution& execution, const Span& span, const RingOptions& o, DType dtype)
      : execution_(execution),
        span_(span),
        out_(slots(dtype, o)),
        in_(slots(dtype, o)),
        sum_out_(slots(accumulator_of(dtype), o)),
        sum_in_(slots(accumulator_of(dtype), o)),
        home_(slots(accumulator_of(dtype), o)) {}

  void forward() {
    const std::vector<Hop>& hops = span_.schedule().hops();
    for (std::size_t h = 0; h + 1 < hops.size(); ++h) move_keys(hops[h], hops[h + 1]);
  }
  void backward() {
    const std::vector<Hop>& hops = span_.schedule().hops();
    for (std::size_t h = 0; h < hops.size(); ++h) {
      if (h + 1 < hops.size()) move_keys(hops[h], hops[h + 1]);
      move_gradients(hops[h]);
    }
    move_gradients(span_.schedule().homecoming());
  }

 private:
  Buffer slots(DType dtype, const RingOptions& o) const {
    return {execution_.device, dtype, {2 * span_.layout().max_tokens(), o.kv_heads, o.head_dim}, MemoryUse::Workspace};
  }
  // Keys and values as one message: bytes count here, not what they mean.
  void list(std::vector<Message>& messages, int peer, const Buffer& slot, int share) const {
    if (peer != Hop::kNobody) messages.push_back({peer, slot.view().rows(0, 2 * span_.layout().num_tokens(share))});
  }
  void move_keys(const Hop& hop, const Hop& next) {
    std::vector<Message> sends, receives;
    list(sends, hop.send_to, out_, hop.share);
    list(receives, hop.receive_from, in_, next.share);
    exchange(sends, receives);
  }
  void move_gradients(const Hop& hop) {
    std::vector<Message> sends, receives;
    list(sends, hop.send_gradient_to, sum_out_, hop.gradient_share);
    list(receives, hop.receive_gradient_from, sum_in_, hop.share);
    list(receives, hop.receive_home_from, home_, execution_.ring.rank());
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

/// One pass in three ways: as it is, its arithmetic alone, its transfers alone.
struct Pass {
  const char* name;
  double flop_factor;
  std::function<void(RingAttention&)> compute;
  std::function<void()> transfer;
};

Result time_pass(Runtime& runtime, const RingOptions& options, const Span& span, const Share& share, const Pass& pass) {
  Execution& execution = runtime.execution();
  const Communicator& world = runtime.world();
  StillTransport still(execution.ring.transport);
  Execution alone{
      execution.device, execution.backend, execution.compute, execution.scratch, {still, execution.compute}};
  const double scale = 1 / std::sqrt(static_cast<double>(options.head_dim));
  RingAttention ring(execution, scale), arithmetic(alone, scale);
  // Backward needs the carry of a forward pass; forward begins with an empty one.
  const auto empty = [&] { RingAttention::empty_carry(execution, share.carry()); };
  empty();
  share.forward(ring, span);
  const auto prepare = [&] {
    if (pass.flop_factor == 1) empty();
  };

  Transport& transport = execution.ring.transport;
  const std::uint64_t sent_before = transport.sent_bytes();
  std::vector<double> exposed;
  const Timing wall = measure_on_ranks(world, options.run, prepare, [&] {
    const double before = transport.exposed_s();
    pass.compute(ring);
    exposed.push_back(transport.exposed_s() - before);
  });
  const auto num_passes = static_cast<std::int64_t>(exposed.size());
  const std::int64_t sent = world.max(static_cast<std::int64_t>(transport.sent_bytes() - sent_before)) / num_passes;
  exposed.erase(exposed.begin(), exposed.begin() + options.run.warm_ups);
  for (double& s : exposed) s = 1e-9 * static_cast<double>(world.max(std::llround(1e9 * s)));  // the longest wait
  const Timing arithmetic_alone = measure_on_ranks(world, options.run, prepare, [&] { pass.compute(arithmetic); });
  const Timing transfer_alone = measure_on_ranks(
      world, options.run, [] {}, pass.transfer);
  double pairs = 0;
  for (const double of_rank : world.all_gather(span.attended_pairs())) pairs += of_rank;
  return {.parameters = {{"dtype", name_of(share.q.view().dtype)},
                         {"layout", name_of(span.layout().kind())},
                         {"tokens", options.tokens},
                         {"heads", options.heads},
                         {"kv_heads", options.kv_heads},
                         {"head_dim", options.head_dim},
                         {"causal", !options.full},
                         {"window", options.window},
                         {"hops", span.schedule().hops().size()},
                         {"pass", pass.name}},
          .formula = "forward 4 N D for each query and key that attend, backward 2.5 times that",
          .flop = pass.flop_factor * 4 * pairs * static_cast<double>(options.heads * options.head_dim),
          .timing = wall,
          .figures = {{"arithmetic_alone_ms", 1e3 * arithmetic_alone.median_s},
                      {"transfer_alone_ms", 1e3 * transfer_alone.median_s},
                      {"exposed_communication_ms", 1e3 * median(exposed)},
                      {"sent_bytes", sent}}};
}

int run(MpiSession& session, RingOptions options) {
  const Communicator& world = session.world();
  agree_on(world, [&] {
    options.kv_heads = checked_kv_heads(options.heads, options.kv_heads);
    if (options.tokens < world.size()) {
      throw ConfigError("there are fewer tokens than ranks", "--tokens", "give at least one token for each rank");
    }
    for (const std::string& name : options.dtypes) dtype_from(name);
  });
  const LayoutKind kind =
      options.layout == "auto" ? balancing_layout(!options.full, options.window) : layout_kind_from(options.layout);
  Runtime runtime(world, {.device = DeviceChoice::Cpu, .threads = options.run.threads});
  Execution& execution = runtime.execution();
  const SequenceLayout layout(options.tokens, world.size(), kind);
  const Span span(layout, {.causal = !options.full, .window = options.window}, world.rank());
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    const DType dtype = dtype_from(name);
    const Share share(execution.device, dtype, span, options);
    Transfers transfers(execution, span, options, dtype);
    const std::vector<Pass> passes{
        {"forward", 1, [&](RingAttention& r) { share.forward(r, span); }, [&] { transfers.forward(); }},
        {"backward", 2.5, [&](RingAttention& r) { share.backward(r, span); }, [&] { transfers.backward(); }}};
    for (const Pass& pass : passes) {
      if (options.pass == "both" || options.pass == pass.name) {
        results.push_back(time_pass(runtime, options, span, share, pass));
      }
    }
  }
  if (world.rank() == 0) report("ring", options.run, runtime.threads(), runtime.description(), {}, results);
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
  command->add_option("--dtype", options->dtypes, "fp32, bf16 or both")->delimiter(',')->type_name("TYPE");
  command->add_option("--tokens", options->tokens, "of the sequence, over all ranks")->check(CLI::Range(1, 1 << 24));
  command->add_option("--heads", options->heads, "query heads")->check(CLI::Range(1, 1024));
  command->add_option("--kv-heads", options->kv_heads, "key/value heads, as many as heads if not given")
      ->check(CLI::Range(1, 1024));
  command->add_option("--head-dim", options->head_dim, "dimensions of a head")->check(CLI::Range(1, 1024));
  command->add_option("--layout", options->layout, "auto, contiguous, zigzag or striped")->type_name("LAYOUT");
  command->add_option("--window", options->window, "a query sees keys with 0 <= i - j < W; 0: no window")
      ->check(CLI::Range(0, 1 << 24))
      ->type_name("W");
  command->add_option("--pass", options->pass, "which of the two, or both")
      ->check(CLI::IsMember({"forward", "backward", "both"}));
  command->add_flag("--full", options->full, "without a causal mask");
  add_run_options(*command, options->run);
}

}  // namespace rondo::bench
