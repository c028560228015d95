// SPDX-License-Identifier: Apache-2.0
// A layer of Infini-attention over rings of 1 to 8 ranks gives the outputs and all gradients of the sequential NumPy program
// tests/oracle/infini.py, in fp64.
#include "model/infini_attention.hpp"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <unistd.h>

#include "kernels/cpu/backend.hpp"
#include "model/exact_attention.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/forwarding_backend.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/support/npy.hpp"

namespace rondo::test {
namespace {

struct OracleCase {
  const char* name;
  MemoryRule rule;
  std::int64_t tokens, heads, kv_heads, dim, segment_tokens;
  std::int64_t window_segments;  // if it covers all segments: Ring Attention
  std::vector<std::int64_t> documents;
};

const std::vector<OracleCase>& oracle_cases() {
  static const std::vector<OracleCase> cases{
      {"linear, window 0, ragged end", MemoryRule::Linear, 61, 2, 2, 4, 8, 0, {}},
      {"linear, window 1, 4 heads a key head", MemoryRule::Linear, 64, 4, 1, 6, 8, 1, {}},
      {"linear, window 3, documents", MemoryRule::Linear, 90, 2, 1, 4, 6, 3, {0, 1, 40, 41, 90}},
      {"linear, window over all", MemoryRule::Linear, 41, 2, 2, 4, 8, 6, {}},
      {"delta, window 0", MemoryRule::Delta, 72, 2, 1, 4, 8, 0, {}},
      {"delta, window 1, ragged end, documents", MemoryRule::Delta, 83, 4, 2, 6, 7, 1, {0, 30, 83}},
      {"delta, window 3", MemoryRule::Delta, 67, 2, 2, 4, 5, 3, {}},
      {"delta, window over all", MemoryRule::Delta, 41, 2, 2, 4, 8, 6, {}},
      {"corrected, window 0, ragged end", MemoryRule::DeltaCorrected, 61, 2, 1, 4, 8, 0, {}},
      {"corrected, window 1, documents", MemoryRule::DeltaCorrected, 80, 4, 2, 6, 8, 1, {0, 13, 80}},
      {"corrected, window 3", MemoryRule::DeltaCorrected, 67, 2, 2, 4, 5, 3, {}},
      {"corrected, window over all", MemoryRule::DeltaCorrected, 41, 2, 2, 4, 8, 6, {}},
      {"segments longer than a shard", MemoryRule::Delta, 53, 2, 1, 4, 16, 1, {}}};
  return cases;
}

std::string word_of(MemoryRule rule) {
  return rule == MemoryRule::Linear ? "linear" : rule == MemoryRule::Delta ? "delta" : "delta_corrected";
}

/// The inputs of a whole sequence and the results of the sequential program.
struct Answer {
  Tensor q, k, v, gate, d_out, out, d_q, d_k, d_v, d_gate;
};

TransformerShape shape_of(const OracleCase& c) {
  return {
      .layers = 1,
      .d_model = c.heads * c.dim,
      .heads = c.heads,
      .kv_heads = c.kv_heads,
      .head_dim = c.dim,
      .d_ff = 8,
      .vocabulary = 8,
      .rope_scaling = {},
      .attention = {LayerAttention::Infini},
      .segments = {.segment_tokens = c.segment_tokens, .window_segments = c.window_segments, .memory_rule = c.rule}};
}

void write_question(const OracleCase& c, const Answer& a, const std::string& folder) {
  std::filesystem::create_directories(folder);
  for (const auto& [name, tensor] :
       {std::pair{"q", &a.q}, {"k", &a.k}, {"v", &a.v}, {"beta", &a.gate}, {"d_out", &a.d_out}}) {
    write_npy(folder + "/" + name + ".npy", *tensor);
  }
  write_npy(folder + "/inverse_frequencies.npy",
            Tensor(DType::Fp64, {c.dim / 2}, rope_inverse_frequencies(shape_of(c))));
  if (c.documents.empty()) return;
  const std::vector<double> offsets(c.documents.begin(), c.documents.end());
  write_npy(folder + "/document_offsets.npy",
            Tensor(DType::Int64, {static_cast<std::int64_t>(offsets.size())}, offsets));
}

/// Rank 0 runs the sequential program, all ranks read its results. Collective.
Answer ask(const OracleCase& c, const std::string& folder) {
  const Shape queries{c.tokens, c.heads, c.dim}, keys{c.tokens, c.kv_heads, c.dim};
  Answer a;
  a.q = Tensor::random(DType::Fp64, queries, 1), a.d_out = Tensor::random(DType::Fp64, queries, 5);
  a.k = Tensor::random(DType::Fp64, keys, 2), a.v = Tensor::random(DType::Fp64, keys, 3);
  a.gate = Tensor::random(DType::Fp64, {c.heads}, 4);
  const std::string in = folder + "/in", out = folder + "/out";
  if (world().rank() == 0) {
    write_question(c, a, in);
    const std::string command = RONDO_PYTHON " " RONDO_TESTS "/oracle/infini.py " + in + " " + out + " --rule " +
                                word_of(c.rule) + " --segment-tokens " + std::to_string(c.segment_tokens) +
                                " --window-segments " + std::to_string(c.window_segments);
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed (python3-numpy missing?): " + command);
  }
  world().barrier();
  a.out = read_npy(out + "/out.npy", queries), a.d_q = read_npy(out + "/d_q.npy", queries);
  a.d_k = read_npy(out + "/d_k.npy", keys), a.d_v = read_npy(out + "/d_v.npy", keys);
  a.d_gate = read_npy(out + "/d_beta.npy", {c.heads});
  world().barrier();
  if (world().rank() == 0) std::filesystem::remove_all(folder);
  return a;
}

/// One per case. The first call is collective.
const std::vector<Answer>& answers() {
  static const std::vector<Answer> all = [] {
    const std::string folder =
        testing::TempDir() + "rondo_infini_oracle_" + world().broadcast(std::to_string(getpid()));
    std::vector<Answer> found;
    for (const OracleCase& c : oracle_cases()) found.push_back(ask(c, folder));
    return found;
  }();
  return all;
}

/// qkv [T, (N+2G)*D] of this rank's positions.
Tensor packed(const Tensor& q, const Tensor& k, const Tensor& v, const TokenRuns& runs) {
  const std::int64_t N = q.shape()[1], G = k.shape()[1], D = q.shape()[2], columns = (N + 2 * G) * D;
  Tensor qkv(DType::Fp64, {runs.num_tokens(), columns});
  for (std::int64_t t = 0; t < runs.num_tokens(); ++t) {
    const std::int64_t position = runs.global_of(t);
    for (std::int64_t i = 0; i < N * D; ++i) qkv.set(t * columns + i, q[position * N * D + i]);
    for (std::int64_t i = 0; i < G * D; ++i) {
      qkv.set(t * columns + N * D + i, k[position * G * D + i]);
      qkv.set(t * columns + (N + G) * D + i, v[position * G * D + i]);
    }
  }
  return qkv;
}

Tensor share_of(const Tensor& whole, const TokenRuns& runs) {
  const std::int64_t row = whole.shape().row_count();
  Tensor shard(DType::Fp64, {runs.num_tokens(), whole.shape()[1], whole.shape()[2]});
  for (std::int64_t t = 0; t < runs.num_tokens(); ++t) {
    for (std::int64_t i = 0; i < row; ++i) shard.set(t * row + i, whole[runs.global_of(t) * row + i]);
  }
  return shard;
}

Tensor copy(const TensorView& view, const Shape& shape) {
  Tensor tensor(view.dtype, shape);
  std::memcpy(tensor.view().data, view.data, view.size_bytes());
  return tensor;
}

/// For sums of some hundred terms of size 10 in another order.
constexpr double kTolerance = 1e-11;

/// The sequence in one span, in three of odd lengths, or in as many as possible, with one token per rank.
enum class Spans { One, Three, Smallest };

std::vector<std::int64_t> ends_of(Spans spans, std::int64_t tokens, int ring) {
  if (spans == Spans::One) return {tokens};
  if (spans == Spans::Three) return {tokens / 5 + ring, tokens / 2 + ring, tokens};
  std::vector<std::int64_t> ends;
  for (std::int64_t end = ring; end + ring <= tokens; end += ring) ends.push_back(end);
  ends.push_back(tokens);
  return ends;
}

void expect_like_the_sequential_program(const Communicator& group, LayoutKind layout, Spans spans, std::size_t index) {
  const OracleCase& c = oracle_cases()[index];
  const Answer& a = answers()[index];
  TestExecution execution(group);
  Execution& e = execution.get();
  const std::vector<std::int64_t> ends = ends_of(spans, c.tokens, group.size());
  const auto span_of = [&](std::size_t i) {
    const std::int64_t first = i == 0 ? 0 : ends[i - 1];
    return Span(SequenceLayout(ends[i] - first, group.size(), layout, first), {.causal = true}, group.rank(),
                c.documents, c.tokens);
  };
  InfiniAttention layer(e, shape_of(c), DType::Fp64);
  Tensor d_gate(DType::Fp64, {c.heads});
  LayerWeights w;
  w.memory_gate = {a.gate, d_gate};

  std::vector<std::unique_ptr<LayerState>> states;  // before each span but the first
  for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
    Arena::Scope scope(e.scratch);
    const Span span = span_of(i);
    states.push_back(layer.make_state(c.tokens));
    layer.forward({span, w, packed(a.q, a.k, a.v, span.runs()), i == 0 ? nullptr : states[i - 1].get()},
                  states[i].get(), LayerActivations(nullptr, 0, e.scratch));
  }
  const std::unique_ptr<LayerState> d_state = layer.make_state_gradient(c.tokens);
  for (std::size_t i = ends.size(); i-- > 0;) {
    SCOPED_TRACE("span " + std::to_string(i) + " of " + std::to_string(ends.size()));
    Arena::Scope scope(e.scratch);
    const Span span = span_of(i);
    const LayerState* before = i == 0 ? nullptr : states[i - 1].get();
    Activations activations(e.device, 1, ActivationPolicy::KeepAttention);
    const LayerActivations kept(&activations, 0, e.scratch);
    const Tensor qkv = packed(a.q, a.k, a.v, span.runs());
    const AttentionInput in{span, w, qkv, before};
    const Tensor expected = share_of(a.out, span.runs());
    const Tensor out = copy(layer.forward(in, nullptr, kept).heads_out, expected.shape());
    EXPECT_LE(max_difference(out, expected), kTolerance);
    const AttentionTape& tape = layer.rematerialize(in, kept);
    EXPECT_EQ(max_difference(copy(tape.heads_out, expected.shape()), out), 0);

    Tensor d_qkv(DType::Fp64, qkv.shape());
    layer.backward(in, tape, {share_of(a.d_out, span.runs()), d_qkv, ends.size() == 1 ? nullptr : d_state.get()});
    EXPECT_LE(max_difference(d_qkv, packed(a.d_q, a.d_k, a.d_v, span.runs())), kTolerance);
  }
  e.ring.transport.all_reduce(e.compute, d_gate, e.scratch);
  EXPECT_LE(max_difference(d_gate, a.d_gate), kTolerance);
}

class InfiniAttentionRing : public testing::TestWithParam<int> {};

TEST_P(InfiniAttentionRing, IsThatOfTheSequentialProgram) {
  if (world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  answers();
  with_ranks(GetParam(), [](const Communicator& group) {
    for (const LayoutKind layout : {LayoutKind::Contiguous, LayoutKind::Zigzag, LayoutKind::BlockCyclic}) {
      for (const Spans spans : {Spans::One, Spans::Three, Spans::Smallest}) {
        for (std::size_t index = 0; index < oracle_cases().size(); ++index) {
          SCOPED_TRACE(std::string(oracle_cases()[index].name) + ", " + std::string(name_of(layout)) + ", spans " +
                       std::to_string(static_cast<int>(spans)));
          expect_like_the_sequential_program(group, layout, spans, index);
        }
      }
    }
  });
}

/// Bytes that this rank sends in forward and in backward.
struct SentBytes {
  std::int64_t forward = 0, backward = 0;
};

/// Forward and backward of a layer with random inputs, in one span of contiguous shards.
SentBytes go_through(Execution& e, const OracleCase& c, DType compute) {
  const Span span(SequenceLayout(c.tokens, e.ring.size(), LayoutKind::Contiguous), {.causal = true}, e.ring.rank());
  InfiniAttention layer(e, shape_of(c), compute);
  const Tensor gate = Tensor::random(accumulator_of(compute), {c.heads}, 4);
  Tensor d_gate(accumulator_of(compute), {c.heads});
  LayerWeights w;
  w.memory_gate = {gate, d_gate};
  Arena::Scope scope(e.scratch);
  Activations activations(e.device, 1, ActivationPolicy::KeepAttention);
  const LayerActivations kept(&activations, 0, e.scratch);
  const Tensor qkv = Tensor::random(compute, {span.num_tokens(), (c.heads + 2 * c.kv_heads) * c.dim}, 7);
  const Tensor d_out = Tensor::random(compute, {span.num_tokens(), c.heads, c.dim}, 8);
  Tensor d_qkv(compute, qkv.shape());

  const auto sent = [&] { return static_cast<std::int64_t>(e.ring.transport.sent_bytes()); };
  const std::int64_t before = sent();
  const AttentionInput in{span, w, qkv};
  const AttentionTape& tape = layer.forward(in, nullptr, kept);
  const std::int64_t between = sent();
  layer.backward(in, tape, {d_out, d_qkv});
  return {between - before, sent() - between};
}

/// Matrices that the rank at `place`, in the direction of the scan, sends in all rounds: one in every round in which it has a
/// receiver, and for delta rules also the decay of its map, unless the map is constant.
std::int64_t matrices_sent(std::int64_t place, std::int64_t ring, bool has_decays) {
  const auto one = [&](bool is_constant) { return std::int64_t{has_decays && !is_constant ? 2 : 1}; };
  std::int64_t matrices = place + 1 < ring ? one(place == 0) : 0;
  for (std::int64_t distance = 1; place > 0 && place + distance < ring; distance *= 2) {
    matrices += one(place <= distance);
  }
  return matrices;
}

// What a rank sends does not depend on its number of tokens: in each of at most 1 + log2(ranks) rounds a state, D (D + 1)
// numbers per key head, and for delta rules its decay, D^2, all in fp64; under the corrected rule z goes from rank to rank
// instead. Besides, it sends only keys and values of the w segments that the next rank attends to, and their gradients.
TEST_P(InfiniAttentionRing, SendsStatesAndNoKeysBeyondTheWindow) {
  if (world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  with_ranks(GetParam(), [](const Communicator& group) {
    TestExecution execution(group);
    for (const MemoryRule rule : {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected}) {
      for (const std::int64_t window : {0, 1, 3}) {
        for (const std::int64_t segments_of_rank : {1, 3, 5}) {
          if (window > segments_of_rank) continue;  // keys come from several ranks
          for (const DType compute : {DType::Fp64, DType::Fp32}) {
            SCOPED_TRACE(word_of(rule) + ", window " + std::to_string(window) + ", " + std::string(name_of(compute)) +
                         ", ranks: " + std::to_string(group.size()));
            const OracleCase c{"", rule, group.size() * segments_of_rank * 4, 4, 2, 6, 4, window, {}};
            const auto element = static_cast<std::int64_t>(size_of(compute));
            const auto bytes_from = [&](std::int64_t place) {
              const std::int64_t is_followed = place + 1 < group.size() ? 1 : 0;
              const std::int64_t states =
                  c.dim * c.dim * matrices_sent(place, group.size(), rule != MemoryRule::Linear);
              const std::int64_t normalisers =
                  c.dim *
                  (rule == MemoryRule::DeltaCorrected ? is_followed : matrices_sent(place, group.size(), false));
              const std::int64_t keys_and_values = window * c.segment_tokens * 2 * c.dim * is_followed;
              return c.kv_heads * (8 * (states + normalisers) + element * keys_and_values);
            };
            const SentBytes sent = go_through(execution.get(), c, compute);
            EXPECT_EQ(sent.forward, bytes_from(group.rank()));
            EXPECT_EQ(sent.backward, bytes_from(group.size() - 1 - group.rank()));
          }
        }
      }
    }
  });
}

// States of other ranks are composed as they arrive, so their number does not matter.
TEST(InfiniAttention, TakesTheSameMemoryPerRankInALargerRing) {
  for (const MemoryRule rule : {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected}) {
    SCOPED_TRACE(word_of(rule));
    std::map<int, std::array<std::uint64_t, 2>> peaks;  // by ranks
    for (const int ranks : {2, 3, 8}) {
      if (world().size() < ranks) continue;
      with_ranks(ranks, [&](const Communicator& group) {
        TestExecution execution(group);
        go_through(execution.get(), {"", rule, group.size() * 12, 4, 2, 16, 4, 0, {}}, DType::Fp32);
        const MemoryLedger& memory = execution.device().memory();
        peaks[ranks] = {memory.peak_bytes(MemoryUse::Workspace), memory.peak_bytes(MemoryUse::KeptActivations)};
      });
    }
    for (const auto& [ranks, bytes] : peaks) EXPECT_EQ(bytes, peaks.begin()->second) << ranks << " ranks";
  }
}

/// Counts the attention calls, and those during which transfers could progress.
class WatchedBackend final : public ForwardingBackend {
 public:
  WatchedBackend(Backend& backend, const int& num_progress_calls)
      : ForwardingBackend(backend), num_progress_calls_(num_progress_calls) {}
  int num_attention_calls() const { return num_attention_calls_; }
  int num_calls_with_progress() const { return num_calls_with_progress_; }

  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    watch([&] { ForwardingBackend::block_attention_forward(stream, args); });
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    watch([&] { ForwardingBackend::block_attention_backward(stream, args); });
  }

 private:
  void watch(const std::function<void()>& attend) {
    const int before = num_progress_calls_;
    attend();
    ++num_attention_calls_;
    if (num_progress_calls_ > before) ++num_calls_with_progress_;
  }

  const int& num_progress_calls_;
  int num_attention_calls_ = 0, num_calls_with_progress_ = 0;
};

/// Counts the attention calls between the start of each exchange and the wait for it.
class WatchedTransport final : public Transport {
 public:
  struct Exchange {
    std::int64_t num_values = 0;  // of one message
    int num_attention_calls = 0;  // until it was waited for
  };

  explicit WatchedTransport(Transport& sound) : sound_(sound) {}
  void set_backend(const WatchedBackend& backend) { backend_ = &backend; }
  const std::vector<Exchange>& exchanges() const { return exchanges_; }
  const int& num_progress_calls() const { return num_progress_calls_; }

  int rank() const override { return sound_.rank(); }
  int size() const override { return sound_.size(); }
  Pending send_recv(Stream& stream, std::span<const Message> sends, std::span<const Message> receives) override {
    const std::span<const Message> any = sends.empty() ? receives : sends;
    pending_.push_back(sound_.send_recv(stream, sends, receives));
    exchanges_.push_back({any.empty() ? 0 : any[0].data.count(), -backend_->num_attention_calls()});
    return {this, exchanges_.size() - 1};
  }
  void all_reduce(Stream& stream, const TensorView& data, Arena& scratch) override {
    sound_.all_reduce(stream, data, scratch);
  }
  void broadcast(Stream& stream, const TensorView& data, int root) override { sound_.broadcast(stream, data, root); }
  void progress() override {
    ++num_progress_calls_;
    sound_.progress();
  }

 private:
  void wait(std::uint64_t ticket, Stream& stream) override {
    exchanges_[ticket].num_attention_calls += backend_->num_attention_calls();
    pending_[ticket].wait(stream);
  }

  Transport& sound_;
  const WatchedBackend* backend_ = nullptr;
  int num_progress_calls_ = 0;
  std::vector<Exchange> exchanges_;
  std::vector<Pending> pending_;
};

TEST_P(InfiniAttentionRing, SendsStatesWhileLocalAttentionComputes) {
  if (world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  with_ranks(GetParam(), [](const Communicator& group) {
    for (const MemoryRule rule : {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected}) {
      SCOPED_TRACE(word_of(rule));
      TestExecution execution(group, [](Device& device) { return make_cpu_backend(device, {.threads = 1}); });
      Execution& e = execution.get();
      WatchedTransport watched(e.ring.transport);
      WatchedBackend backend(e.backend, watched.num_progress_calls());
      watched.set_backend(backend);
      e.compute.set_progress([&] { watched.progress(); });
      Execution timed{e.device, backend, e.compute, e.scratch, {watched, e.compute}};
      const OracleCase c{"", rule, group.size() * 64, 4, 2, 6, 16, 1, {}};
      go_through(timed, c, DType::Fp32);
      e.compute.set_progress([&] { e.ring.transport.progress(); });

      const std::int64_t matrix = c.kv_heads * c.dim * c.dim, normaliser = c.kv_heads * c.dim;
      int num_states = 0;
      for (const WatchedTransport::Exchange& exchange : watched.exchanges()) {
        const bool is_hidden = exchange.num_values == matrix ||
                               (exchange.num_values == normaliser && rule == MemoryRule::Linear && num_states == 0);
        if (is_hidden) {
          EXPECT_GE(exchange.num_attention_calls, 1) << exchange.num_values << " values";
        }
        if (exchange.num_values == matrix) ++num_states;
      }
      EXPECT_GT(num_states, group.size() == 1 ? -1 : 0);
      EXPECT_EQ(backend.num_calls_with_progress(), backend.num_attention_calls());
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, InfiniAttentionRing, testing::Values(1, 2, 3, 4, 8));

TEST(InfiniAttention, RefusesALayoutThatSpreadsSegments) {
  const Span span(SequenceLayout(16, 2, LayoutKind::Striped), {.causal = true}, 0);
  EXPECT_THROW(span.plan<MemoryChain>({.causal = true, .segment_tokens = 4}), ConfigError);
}

}  // namespace
}  // namespace rondo::test
