// SPDX-License-Identifier: Apache-2.0
#include "plan/cuda_workspace.hpp"

#include <algorithm>

namespace rondo {

namespace {

// Workspaces that the backend allocates at its start: for cublasLt and for sums.
constexpr std::size_t kLibraryBytes = std::size_t{32} << 20, kSumBytes = std::size_t{1} << 19;
// The alignment of cuDNN's workspace.
constexpr std::size_t kCudnnAlignment = 256;
constexpr std::int64_t kCudnnLargestHeadDim = 128, kCudnnHeadDimMultiple = 8;
// rms_norm_backward: the most chunks of tokens with a partial sum each, and the fewest tokens of a chunk.
constexpr std::int64_t kMostChunks = 4096, kFewestTokens = 8;
// compressive_memory: the most bytes of a group's arrays, and the most steps of a group.
constexpr std::int64_t kGroupBytes = std::int64_t{64} << 20, kMostGroupSteps = 256;
constexpr std::int64_t kStepBytes = 24;  // per step, on the device

class CudaWorkspace final : public KernelWorkspace {
 public:
  CudaWorkspace(Device& device, AttentionKernel kernel)
      : kernel_(kernel),
        library_(device, kLibraryBytes, MemoryUse::Workspace),
        sums_(device, kSumBytes, MemoryUse::Workspace) {}

  void rms_norm_backward(const RmsNormBackwardArgs& args) override {
    const std::int64_t tokens = args.x.shape[0];
    const std::int64_t chunk = std::max(kFewestTokens, (tokens + kMostChunks - 1) / kMostChunks);
    Arena::Scope scope(args.scratch);
    args.scratch.take(args.d_weight.dtype, {(tokens + chunk - 1) / chunk, args.x.shape[1]});
  }

  // cuDNN: a partial output and log-sum-exp in fp32. Our own kernels: the visible keys of each query.
  void block_attention_forward(const BlockAttentionForwardArgs& args) override {
    Arena::Scope scope(args.scratch);
    const AttentionSizes s = check(args);
    if (!may_be_cudnn(args.q.dtype, s.head_dim)) return take_visible_keys(args.scratch, s);
    args.scratch.take(DType::Fp32, args.q.shape);
    args.scratch.take(DType::Fp32, {s.heads, s.num_queries});
    args.scratch.take(kCudnnAlignment);
  }

  // cuDNN computes one query head per key head at a time: the log-sum-exp, partial d_q, d_k and d_v, and a workspace as large
  // as d_q (docs/gpu-status.md).
  void block_attention_backward(const BlockAttentionBackwardArgs& args) override {
    Arena::Scope scope(args.scratch);
    const AttentionSizes s = check(args);
    if (!may_be_cudnn(args.q.dtype, s.head_dim)) return take_visible_keys(args.scratch, s);
    const Shape queries{s.num_queries, s.kv_heads, s.head_dim}, keys{s.num_keys, s.kv_heads, s.head_dim};
    args.scratch.take(DType::Fp32, {s.kv_heads, s.num_queries});
    for (const Shape& shape : {queries, keys, keys}) args.scratch.take(DType::Fp32, shape);
    args.scratch.take(static_cast<std::size_t>(queries.count()) * size_of(DType::Fp32) + kCudnnAlignment);
  }

  void memory_normaliser_forward(const MemoryNormaliserForwardArgs& args) override {
    Arena::Scope scope(args.scratch);
    take_steps(args.scratch, args.schedule);
  }

  void memory_normaliser_backward(const MemoryNormaliserBackwardArgs& args) override {
    const bool is_corrected = args.rule == MemoryRule::DeltaCorrected;
    Arena::Scope scope(args.scratch);
    take_steps(args.scratch, args.schedule);
    if (is_corrected || args.d_k) args.scratch.take(DType::Fp64, args.normalisers.z.shape);
    if (is_corrected) args.scratch.take(DType::Fp64, args.normalisers.z.shape);
  }

  void compressive_memory_forward(const CompressiveMemoryForwardArgs& args) override {
    Arena::Scope scope(args.scratch);
    take_steps(args.scratch, args.schedule);
    take_states(args.scratch, group_of(args.schedule, args.rule, args.k), 1);
  }

  void compressive_memory_backward(const CompressiveMemoryBackwardArgs& args) override {
    Arena::Scope scope(args.scratch);
    take_steps(args.scratch, args.schedule);
    const Group group = group_of(args.schedule, args.rule, args.k);
    args.scratch.take(group.accumulator, {args.q.shape[0], args.q.shape[1], 2});  // two numbers per read
    if (args.d_q) args.scratch.take(DType::Fp64, {group.count, group.kv_heads, group.dim, group.dim});
    take_states(args.scratch, group, args.d_q ? 2 : 1);
    if (!args.d_q || !group.is_delta) return;
    args.scratch.take(group.accumulator, {group.rows, 2});
    for (int i = 0; i < 2; ++i) args.scratch.take(group.accumulator, {group.rows, group.dim});
  }

 private:
  /// The steps of a run that are computed at once.
  struct Group {
    std::int64_t count;        // number of groups
    std::int64_t steps, rows;  // per group: steps; written tokens x key heads
    std::int64_t kv_heads, dim;
    DType accumulator;
    bool is_delta;
  };

  static Group group_of(const MemorySchedule& schedule, MemoryRule rule, const TensorView& k) {
    const DType accumulator = accumulator_of(k.dtype);
    const std::int64_t kv_heads = k.shape[1], dim = k.shape[2];
    const bool writes = std::ranges::any_of(
        schedule.steps, [](const MemoryStep& step) { return step.first_key != MemoryStep::kNoWrite; });
    const std::int64_t written = writes ? schedule.segment_tokens : 0;
    const auto bytes = static_cast<std::int64_t>(size_of(accumulator)) * std::max(dim, written) * kv_heads * dim;
    const std::int64_t most =
        std::clamp<std::int64_t>(kGroupBytes / std::max<std::int64_t>(1, bytes), 1, kMostGroupSteps);
    const std::int64_t steps = std::min(most, schedule.num_steps());
    return {.count = (schedule.num_steps() + most - 1) / most,
            .steps = steps,
            .rows = steps * written * kv_heads,
            .kv_heads = kv_heads,
            .dim = dim,
            .accumulator = accumulator,
            .is_delta = rule != MemoryRule::Linear};
  }

  /// `matrices` per step, and for delta rules the decays and weights.
  static void take_states(Arena& scratch, const Group& group, int matrices) {
    const Shape states{group.steps, group.kv_heads, group.dim, group.dim};
    if (group.is_delta) scratch.take(group.accumulator, {group.rows, 2});
    for (int i = 0; i < matrices + (group.is_delta ? 1 : 0); ++i) scratch.take(group.accumulator, states);
  }

  static void take_steps(Arena& scratch, const MemorySchedule& schedule) {
    scratch.take(static_cast<std::size_t>(schedule.num_steps() * kStepBytes));
  }

  static void take_visible_keys(Arena& scratch, const AttentionSizes& sizes) {
    scratch.take(static_cast<std::size_t>(sizes.num_queries) * sizeof(KeyInterval));
  }

  bool may_be_cudnn(DType dtype, std::int64_t head_dim) const {
    return kernel_ != AttentionKernel::Fused && dtype == DType::Bf16 && head_dim % kCudnnHeadDimMultiple == 0 &&
           head_dim <= kCudnnLargestHeadDim;
  }

  AttentionKernel kernel_;
  Buffer library_, sums_;
};

}  // namespace

std::unique_ptr<KernelWorkspace> make_cuda_workspace(Device& device, AttentionKernel kernel) {
  return std::make_unique<CudaWorkspace>(device, kernel);
}

}  // namespace rondo
