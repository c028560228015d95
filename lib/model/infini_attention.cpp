// SPDX-License-Identifier: Apache-2.0
#include "model/infini_attention.hpp"

#include <algorithm>
#include <cmath>

#include "core/trace.hpp"
#include "model/ring_attention.hpp"

namespace rondo {

namespace {

constexpr Activation kLocalOut{"attention_out", true}, kLocalLse{"attention_lse", true};
// States are small and always kept: without them backward would have to repeat the scan over ranks.
constexpr Activation kMatrix{"memory_matrix"}, kNormaliser{"memory_normaliser"}, kDecay{"memory_decay"};

const std::vector<double> kNoRotation;  // no frequencies

/// A part of the keys that a rank attends to: rows [first, first + positions.num_tokens()).
struct KeyPiece {
  std::int64_t first;
  TokenRuns positions;
};

/// The keys in pieces of nearly equal size, one per communication round, which attention to that piece hides.
std::vector<KeyPiece> pieces_of(const TokenRuns& keys, int rounds) {
  const std::int64_t U = keys.num_tokens(), pieces = std::max(1, rounds);
  std::vector<KeyPiece> list;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const std::int64_t first = U * piece / pieces, last = U * (piece + 1) / pieces;
    TokenRuns positions;
    for (const TokenRun& run : keys) {
      const std::int64_t begin = std::max(first, run.local_first), end = std::min(last, run.local_first + run.count);
      if (begin < end) positions.append(run.global_of(begin - run.local_first), run.stride, end - begin);
    }
    if (positions.num_tokens() > 0) list.push_back({first, positions});
  }
  return list;
}

}  // namespace

InfiniAttention::InfiniAttention(Execution& execution, const TransformerShape& shape, DType compute)
    : execution_(execution),
      shape_(shape),
      compute_(compute),
      scale_(1.0 / std::sqrt(static_cast<double>(shape.head_dim))),
      inverse_frequencies_(rope_inverse_frequencies(shape)) {}

const AttentionTape& InfiniAttention::forward(const AttentionInput& in, LayerState* state_after,
                                              const LayerActivations& kept) {
  TraceScope trace("infini_attention.forward");
  const std::int64_t T = in.span.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
  const DType sum = accumulator_of(compute_);
  const auto* before = dynamic_cast<const InfiniState*>(in.before);
  auto* after = dynamic_cast<InfiniState*>(state_after);
  const auto runs = static_cast<std::int64_t>(chain_of(in.span).mine().size());
  tape_.carry = {kept.place(kLocalOut, sum, {T, N, D}), kept.place(kLocalLse, sum, {N, T})};
  tape_.before.m = kept.place(kMatrix, DType::Fp64, {runs, G, D, D});
  tape_.before.z = kept.place(kNormaliser, DType::Fp64, {runs, G, D});
  if (has_decays(shape_.segments.memory_rule)) tape_.before.decays = kept.place(kDecay, sum, {runs, G, D, D});
  tape_.read = take_read(T);
  tape_.window = split(in);
  {
    Arena::Scope scope(execution_.scratch);
    MemoryState memory_after = memory_of(after);
    if (observer_ != nullptr && !memory_after.m) {
      memory_after = {execution_.scratch.take(DType::Fp64, {G, D, D}), execution_.scratch.take(DType::Fp64, {G, D})};
    }
    CompressiveMemory memory(execution_, shape_.segments.memory_rule, memory_tokens(in.span, tape_.window),
                             tape_.before);
    memory.start(memory_of(before), memory_after);
    attend(in.span, memory);  // A_dot, while states are sent
    memory.finish(tape_.read);
    if (observer_ != nullptr) {
      observer_->observe(execution_, kept.layer(), kReadNormaliser, tape_.read.normaliser);
      observer_->observe(execution_, kept.layer(), kMemory, memory_after.m);
    }
    if (after != nullptr) halo_of(in.span).carry_forward(tape_.window.keys, before, *after);
  }
  mix(in.weights);
  return tape_;
}

const AttentionTape& InfiniAttention::rematerialize(const AttentionInput& in, const LayerActivations& kept) {
  TraceScope trace("infini_attention.rematerialize");
  const auto out = kept.fetch(kLocalOut), lse = kept.fetch(kLocalLse);
  if (!out || !lse) return forward(in, nullptr, kept);
  const MemoryRule rule = shape_.segments.memory_rule;
  tape_.carry = {*out, *lse};
  tape_.before.m = *kept.fetch(kMatrix);
  tape_.before.z = *kept.fetch(kNormaliser);
  if (has_decays(rule)) tape_.before.decays = *kept.fetch(kDecay);
  tape_.read = take_read(in.span.num_tokens());
  tape_.window = split(in);
  {
    Arena::Scope scope(execution_.scratch);
    CompressiveMemory(execution_, rule, memory_tokens(in.span, tape_.window), tape_.before).read_again(tape_.read);
  }
  mix(in.weights);
  return tape_;
}

void InfiniAttention::backward(const AttentionInput& in, const AttentionTape& of_forward,
                               const AttentionGradients& grad) {
  TraceScope trace("infini_attention.backward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  ensure(&of_forward == &tape_, "the tape is that of this layer's last forward pass");
  const Tape& tape = tape_;
  auto* d_state = dynamic_cast<InfiniState*>(grad.d_state);
  const Weight& gate = in.weights.memory_gate;
  const TensorView d_local = scratch.take(compute_, grad.d_out.shape);
  const TensorView d_read = scratch.take(accumulator_of(compute_), grad.d_out.shape);
  backend.memory_gate_backward(compute,
                               {tape.carry.out, tape.read, gate.value, grad.d_out, d_local, d_read, gate.gradient});
  CompressiveMemory memory(execution_, shape_.segments.memory_rule, memory_tokens(in.span, tape.window), tape.before);
  memory.start_backward(tape.read, d_read, memory_of(d_state));
  const Shape &queries = tape.window.q.shape, &keys = tape.window.keys.k.shape;
  const Window d{take_zeros(queries), take_zeros(queries), {take_zeros(keys), take_zeros(keys), take_zeros(keys)}};
  attend_backward(in.span, d_local, d, memory);  // while gradients of states are sent
  memory.finish_backward({d.q, d.keys.k, d.keys.v});
  const KeyHalo halo = halo_of(in.span);
  if (d_state != nullptr) halo.carry_backward(d.keys, dynamic_cast<const InfiniState*>(in.before), *d_state);
  halo.send_gradients_back(d.keys);
  join(in.span, d, grad.d_qkv);
}

// Equation (10), A = g A_mem + (1 - g) A_dot with g = sigmoid(beta), in the compute type.
void InfiniAttention::mix(const LayerWeights& w) {
  const TensorView& local = tape_.carry.out;
  const TensorView out = execution_.scratch.take(compute_, local.shape);
  execution_.backend.memory_gate_forward(execution_.compute, {local, tape_.read, w.memory_gate.value, out});
  tape_.heads_out = out.reshaped({local.shape[0], shape_.attention_columns()});
}

// Equation (6), A_dot = softmax(Q K^T / sqrt(D)) V over the keys of the window.
void InfiniAttention::attend(const Span& span, CompressiveMemory& memory) {
  const TensorView& q = tape_.window.q_rotated;
  const AttentionMaskView window = mask(span);
  RingAttention::empty_carry(execution_, tape_.carry);
  for (const KeyPiece& piece : pieces_of(chain_of(span).keys(), memory.num_micro_batches())) {
    const KeyRows keys = tape_.window.keys.rows(piece.first, piece.positions.num_tokens());
    execution_.backend.block_attention_forward(
        execution_.compute,
        {q, keys.k_rotated, keys.v, span.runs(), piece.positions, window, scale_, tape_.carry, execution_.scratch});
    memory.advance();
  }
}

void InfiniAttention::attend_backward(const Span& span, const TensorView& d_local, const Window& d,
                                      CompressiveMemory& memory) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  const auto& [out, lse] = tape_.carry;
  const TensorView& q = tape_.window.q_rotated;
  const AttentionMaskView window = mask(span);
  const TensorView delta = scratch.take(lse.dtype, lse.shape);  // [N, T]
  backend.attention_delta(compute, {out, d_local, delta});
  for (const KeyPiece& piece : pieces_of(chain_of(span).keys(), memory.num_micro_batches())) {
    const KeyRows keys = tape_.window.keys.rows(piece.first, piece.positions.num_tokens());
    const KeyRows d_keys = d.keys.rows(piece.first, piece.positions.num_tokens());
    backend.block_attention_backward(
        compute, {q, keys.k_rotated, keys.v, d_local, lse, delta, span.runs(), piece.positions, window, scale_,
                  d.q_rotated, d_keys.k_rotated, d_keys.v, scratch, out});
    memory.advance();
  }
}

InfiniAttention::Window InfiniAttention::split(const AttentionInput& in) {
  const std::int64_t T = in.span.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
  auto& [device, backend, compute, scratch, ring] = execution_;
  const auto take = [&](std::int64_t heads) { return execution_.scratch.take(compute_, {T, heads, D}); };
  Window own{take(N), take(N), {take(G), take(G), take(G)}};
  backend.qkv_split_forward(compute, {in.qkv, own.q, own.keys.k, own.keys.v, in.span.runs(), kNoRotation});
  backend.qkv_split_forward(
      compute, {in.qkv, own.q_rotated, own.keys.k_rotated, own.keys.v, in.span.runs(), inverse_frequencies_});
  own.keys = halo_of(in.span).receive(own.keys, dynamic_cast<const InfiniState*>(in.before));
  return own;
}

// d_qkv = the transposed split of the gradients with and without RoPE; the gradient of the values enters once.
void InfiniAttention::join(const Span& span, const Window& d, const TensorView& d_qkv) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  const KeyHalo halo = halo_of(span);
  const DType sum = accumulator_of(compute_);
  const TensorView rotated = sum == d_qkv.dtype ? d_qkv : scratch.take(sum, d_qkv.shape);
  const TensorView not_rotated = scratch.take(sum, d_qkv.shape);
  const TensorView d_v = halo.own_rows(d.keys.v), no_values = take_zeros(d_v.shape);
  backend.qkv_split_backward(
      compute, {d.q_rotated, halo.own_rows(d.keys.k_rotated), d_v, rotated, span.runs(), inverse_frequencies_});
  backend.qkv_split_backward(compute, {d.q, halo.own_rows(d.keys.k), no_values, not_rotated, span.runs(), kNoRotation});
  backend.add(compute, {not_rotated, rotated});
  if (sum != d_qkv.dtype) backend.convert(compute, {rotated, d_qkv});
}

MemoryRead InfiniAttention::take_read(std::int64_t tokens) {
  const DType sum = accumulator_of(compute_);
  return {execution_.scratch.take(sum, {tokens, shape_.heads, shape_.head_dim}),
          execution_.scratch.take(sum, {shape_.heads, tokens})};
}

TensorView InfiniAttention::take_zeros(const Shape& shape) {
  const TensorView zeros = execution_.scratch.take(accumulator_of(compute_), shape);
  execution_.device.fill_zero(execution_.compute, zeros.data, zeros.size_bytes());
  return zeros;
}

std::unique_ptr<LayerState> InfiniAttention::make_state(std::int64_t capacity_tokens) {
  return make_state_of(compute_, capacity_tokens);
}

std::unique_ptr<LayerState> InfiniAttention::make_state_gradient(std::int64_t capacity_tokens) {
  return make_state_of(accumulator_of(compute_), capacity_tokens);
}

std::unique_ptr<LayerState> InfiniAttention::make_state_of(DType dtype, std::int64_t capacity_tokens) {
  const SegmentRule& segments = shape_.segments;
  const bool holds_all = segments.window_segments >= capacity_tokens / segments.segment_tokens;
  const std::int64_t window_tokens =
      holds_all ? capacity_tokens : (segments.window_segments + 1) * segments.segment_tokens;
  auto state = std::make_unique<InfiniState>(execution_.device, dtype, shape_, window_tokens);
  state->clear(execution_.device, execution_.compute);
  return state;
}

}  // namespace rondo
