// SPDX-License-Identifier: Apache-2.0
#include "plan/dry_backend.hpp"

namespace rondo {

namespace {

double flops_of_product(const MatmulSizes& s) {
  return 2 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
}

// Forward: q k^T and p v. Backward: q k^T again, d_v, d_p, d_q and d_k.
constexpr double kForwardProducts = 2, kBackwardProducts = 5;

double flops_of_attention(double products, double pairs, const AttentionSizes& s) {
  return 2 * products * pairs * static_cast<double>(s.heads * s.head_dim);
}

bool is_same(const AttentionMaskView& a, const AttentionMaskView& b) {
  return a.causal == b.causal && a.window == b.window && a.segment_tokens == b.segment_tokens &&
         a.window_segments == b.window_segments && a.sequence_tokens == b.sequence_tokens &&
         a.document_offsets == b.document_offsets && a.num_documents == b.num_documents;
}

/// Products of a vector with M or its transpose, and outer products added to M, over all heads.
struct MemoryProducts {
  double reads = 0, writes = 0;  // over query rows, over key rows
};

MemoryProducts products_of(const MemorySchedule& schedule, std::int64_t heads, std::int64_t kv_heads) {
  MemoryProducts products;
  for (const MemoryStep& step : schedule.steps) {
    products.reads += static_cast<double>(step.num_queries * heads);
    if (step.first_key != MemoryStep::kNoWrite) {
      products.writes += static_cast<double>(schedule.segment_tokens * kv_heads);
    }
  }
  return products;
}

double flops_of_matrices(double products, std::int64_t dim) {
  return 2 * products * static_cast<double>(dim) * static_cast<double>(dim);
}

}  // namespace

std::string_view name_of(Operation operation) {
  switch (operation) {
    case Operation::Matmul: return "matmul";
    case Operation::RmsNorm: return "rms_norm";
    case Operation::Embedding: return "embedding";
    case Operation::QkvSplit: return "qkv_split";
    case Operation::BlockAttention: return "block_attention";
    case Operation::AttentionDelta: return "attention_delta";
    case Operation::MemoryNormaliser: return "memory_normaliser";
    case Operation::CompressiveMemory: return "compressive_memory";
    case Operation::MemoryFold: return "memory_fold";
    case Operation::MemoryGate: return "memory_gate";
    case Operation::Swiglu: return "swiglu";
    case Operation::CrossEntropy: return "cross_entropy";
    case Operation::Elementwise: return "elementwise";
    case Operation::AdamW: return "adamw";
  }
  return "?";
}

void DryBackend::count(Operation operation, double flops, std::initializer_list<TensorView> arguments) {
  OperationCount& count = counts_[static_cast<std::size_t>(operation)];
  ++count.calls;
  count.flops += flops;
  for (const TensorView& argument : arguments) count.bytes += static_cast<double>(argument.size_bytes());
}

double DryBackend::pairs(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys) {
  if (last_.pairs >= 0 && last_.queries == queries && last_.keys == keys && is_same(last_.mask, mask)) {
    return last_.pairs;
  }
  last_ = {queries, keys, mask, static_cast<double>(count_pairs(mask, queries, keys))};
  return last_.pairs;
}

void DryBackend::matmul(Stream&, const MatmulArgs& args) {
  const MatmulSizes sizes = check(args);
  workspace_->matmul(args);
  count(Operation::Matmul, flops_of_product(sizes), {args.a, args.b, args.c, args.accumulate ? args.c : TensorView{}});
}

void DryBackend::rms_norm_forward(Stream&, const RmsNormForwardArgs& args) {
  check(args);
  count(Operation::RmsNorm, 0, {args.x, args.weight, args.y});
}

void DryBackend::rms_norm_backward(Stream&, const RmsNormBackwardArgs& args) {
  check(args);
  workspace_->rms_norm_backward(args);
  count(Operation::RmsNorm, 0, {args.d_y, args.x, args.weight, args.d_x, args.d_x, args.d_weight, args.d_weight});
}

void DryBackend::embedding_forward(Stream&, const EmbeddingForwardArgs& args) {
  check(args);
  count(Operation::Embedding, 0, {args.tokens, args.out, args.out});
}

void DryBackend::embedding_backward(Stream&, const EmbeddingBackwardArgs& args) {
  check(args);
  count(Operation::Embedding, 0, {args.tokens, args.d_out, args.d_out, args.d_out});
}

void DryBackend::qkv_split_forward(Stream&, const QkvSplitForwardArgs& args) {
  check(args);
  count(Operation::QkvSplit, 0, {args.qkv, args.q, args.k, args.v});
}

void DryBackend::qkv_split_backward(Stream&, const QkvSplitBackwardArgs& args) {
  check(args);
  count(Operation::QkvSplit, 0, {args.d_q, args.d_k, args.d_v, args.d_qkv});
}

void DryBackend::block_attention_forward(Stream&, const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = check(args);
  workspace_->block_attention_forward(args);
  if (on_attention) on_attention(args);
  const double flops = flops_of_attention(kForwardProducts, pairs(args.mask, args.query_runs, args.key_runs), sizes);
  count(Operation::BlockAttention, flops,
        {args.q, args.k, args.v, args.carry.out, args.carry.out, args.carry.lse, args.carry.lse});
}

void DryBackend::block_attention_backward(Stream&, const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = check(args);
  workspace_->block_attention_backward(args);
  const double flops = flops_of_attention(kBackwardProducts, pairs(args.mask, args.query_runs, args.key_runs), sizes);
  count(Operation::BlockAttention, flops,
        {args.q, args.k, args.v, args.d_out, args.lse, args.delta, args.d_q, args.d_q, args.d_k, args.d_k, args.d_v,
         args.d_v});
}

void DryBackend::attention_delta(Stream&, const AttentionDeltaArgs& args) {
  check(args);
  count(Operation::AttentionDelta, 0, {args.out, args.d_out, args.delta});
}

void DryBackend::memory_normaliser_forward(Stream&, const MemoryNormaliserForwardArgs& args) {
  check(args);
  workspace_->memory_normaliser_forward(args);
  count(Operation::MemoryNormaliser, 0, {args.k, args.normalisers.z, args.normalisers.segment});
}

void DryBackend::memory_normaliser_backward(Stream&, const MemoryNormaliserBackwardArgs& args) {
  check(args);
  workspace_->memory_normaliser_backward(args);
  count(Operation::MemoryNormaliser, 0,
        {args.k, args.normalisers.z, args.normalisers.segment, args.d_normalisers.z, args.d_normalisers.segment,
         args.d_k, args.d_k});
}

void DryBackend::compressive_memory_forward(Stream&, const CompressiveMemoryForwardArgs& args) {
  check(args);
  workspace_->compressive_memory_forward(args);
  const std::int64_t kv_heads = args.k.shape[1];
  const MemoryProducts products = products_of(args.schedule, args.q ? args.q.shape[1] : 0, kv_heads);
  // before they write, delta rules retrieve from M what the keys hold, and likewise from the decay
  const double of_write = (args.rule == MemoryRule::Linear ? 1 : 2) * (args.decay ? 2 : 1);
  count(Operation::CompressiveMemory, flops_of_matrices(products.reads + of_write * products.writes, args.k.shape[2]),
        {args.q, args.k, args.v, args.read.out, args.read.normaliser, args.m, args.m, args.decay});
}

void DryBackend::compressive_memory_backward(Stream&, const CompressiveMemoryBackwardArgs& args) {
  check(args);
  workspace_->compressive_memory_backward(args);
  const MemoryProducts products = products_of(args.schedule, args.q.shape[1], args.k.shape[1]);
  // The gradient of M through the reads and, for delta rules, through the writes; with sinks also the recomputed states and the
  // gradients of queries, keys and values.
  const double rule = args.rule == MemoryRule::Linear ? 1 : 2;
  const double of_read = args.d_q ? 2 : 1;
  const double of_write = args.d_q ? 1 + 3 * rule : rule;
  count(Operation::CompressiveMemory,
        flops_of_matrices(of_read * products.reads + of_write * products.writes, args.k.shape[2]),
        {args.q, args.k, args.v, args.read.out, args.read.normaliser, args.d_read, args.d_q, args.d_q, args.d_k,
         args.d_k, args.d_v, args.d_v});
}

void DryBackend::memory_fold(Stream&, const MemoryFoldArgs& args) {
  check(args);
  const double flops = args.decay ? flops_of_matrices(static_cast<double>(args.state.shape[0] * args.state.shape[1]),
                                                      args.state.shape[1])
                                  : 0;
  count(Operation::MemoryFold, flops, {args.state, args.state, args.decay, args.added});
}

void DryBackend::memory_gate_forward(Stream&, const MemoryGateForwardArgs& args) {
  check(args);
  count(Operation::MemoryGate, 0, {args.local, args.read.out, args.read.normaliser, args.out});
}

void DryBackend::memory_gate_backward(Stream&, const MemoryGateBackwardArgs& args) {
  check(args);
  count(Operation::MemoryGate, 0,
        {args.local, args.read.out, args.read.normaliser, args.d_out, args.d_local, args.d_read});
}

void DryBackend::swiglu_forward(Stream&, const SwigluForwardArgs& args) {
  check(args);
  count(Operation::Swiglu, 0, {args.gate_up, args.a});
}

void DryBackend::swiglu_backward(Stream&, const SwigluBackwardArgs& args) {
  check(args);
  count(Operation::Swiglu, 0, {args.gate_up, args.d_a, args.d_gate_up});
}

void DryBackend::cross_entropy(Stream&, const CrossEntropyArgs& args) {
  check(args);
  count(Operation::CrossEntropy, 0, {args.logits, args.targets, args.losses, args.d_logits});
}

void DryBackend::convert(Stream&, const ConvertArgs& args) {
  check(args);
  count(Operation::Elementwise, 0, {args.from, args.to});
}

void DryBackend::add(Stream&, const AddArgs& args) {
  check(args);
  count(Operation::Elementwise, 0, {args.from, args.to, args.to});
}

void DryBackend::sum(Stream&, const SumArgs& args) {
  check(args);
  count(Operation::Elementwise, 0, {args.x});
}

void DryBackend::adamw(Stream&, const AdamWArgs& args) {
  check(args);
  count(Operation::AdamW, 0,
        {args.value, args.value, args.moment_1, args.moment_1, args.moment_2, args.moment_2, args.gradient,
         args.compute_copy});
}

}  // namespace rondo
