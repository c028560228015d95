// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_attention.hpp"

#include <map>
#include <optional>

#include "kernels/cuda/attention_merge.hpp"
#include "kernels/cuda/cudnn_graph.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/sm_version.hpp"

namespace rondo::cuda {

namespace {

/// The first element of head `head` in row `row` of a [T, heads, D] tensor.
void* element(const TensorView& view, std::int64_t row, std::int64_t head) {
  const std::int64_t index = first_element(row, head, view.shape[1], view.shape[2]);
  return static_cast<char*>(view.data) + index * static_cast<std::int64_t>(size_of(view.dtype));
}

/// Scratch memory as cuDNN's workspaces are when they come from cudaMalloc. @pre inside a Scope
void* take_workspace(Arena& scratch, std::size_t bytes) {
  constexpr std::uintptr_t kAlignment = 256;
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.take(bytes + kAlignment));
  return reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

class CudnnAttention final : public RectangleAttention {
 public:
  std::string refusal(AttentionPass pass, const AttentionSizes& sizes, double scale,
                      const AttentionRectangles& rectangles) override {
    for (const AttentionRectangle& rectangle : rectangles) {
      const Plan& plan = plan_for(problem_of(pass, sizes, rectangle, scale));
      if (!plan.graph) return plan.refusal;
    }
    return {};
  }

  void forward(Stream& stream, const BlockAttentionForwardArgs& args, const AttentionRectangle& rectangle) override {
    const AttentionSizes sizes = rondo::check(args);
    handle_.set_stream(native(stream));
    Plan& plan = usable_plan(problem_of(AttentionPass::Forward, sizes, rectangle, args.scale));
    Arena::Scope scope(args.scratch);
    const SoftmaxCarry partial{
        .out = args.scratch.take(DType::Fp32, {rectangle.num_queries, sizes.heads, sizes.head_dim}),  // [t, N, D]
        .lse = args.scratch.take(DType::Fp32, {sizes.heads, rectangle.num_queries})};                 // [N, t]
    // carry <- carry (+) softmax(scale q k^T) v
    run(plan,
        {{CudnnTensor::Q, element(args.q, rectangle.query_begin, 0)},
         {CudnnTensor::K, element(args.k, rectangle.key_begin, 0)},
         {CudnnTensor::V, element(args.v, rectangle.key_begin, 0)},
         {CudnnTensor::Out, partial.out.data},
         {CudnnTensor::Lse, partial.lse.data}},
        args.scratch);
    merge_partial(stream, partial, args.carry, rectangle.query_begin);
  }

  void backward(Stream& stream, const BlockAttentionBackwardArgs& args, const AttentionRectangle& rectangle) override {
    const AttentionSizes sizes = rondo::check(args);
    ensure(static_cast<bool>(args.out), "cuDNN's backward takes the attention's output");
    handle_.set_stream(native(stream));
    const CudnnProblem problem = problem_of(AttentionPass::Backward, sizes, rectangle, args.scale);
    Plan& plan = usable_plan(problem);
    for (std::int64_t member = 0; member < problem.members(); ++member) {
      try {
        backward_of(stream, args, rectangle, problem, plan, member);
      } catch (const PlanFailure& failure) {
        if (member == 0) throw;
        throw DeviceError(failure.message(), failure.where(), failure.advice());  // gradients were already added
      }
    }
  }

 private:
  struct Plan {
    std::optional<CudnnGraph> graph;
    std::string refusal;  // where there is no graph
  };

  // One query head of each group, so cuDNN sees as many query heads as key heads.
  void backward_of(Stream& stream, const BlockAttentionBackwardArgs& args, const AttentionRectangle& rectangle,
                   const CudnnProblem& problem, Plan& plan, std::int64_t member) {
    Arena& scratch = args.scratch;
    Arena::Scope scope(scratch);
    const std::int64_t queries = rectangle.num_queries, keys = rectangle.num_keys;
    const std::int64_t heads = problem.kv_heads, dim = problem.head_dim;
    const HeadStride group{.first = member, .step = problem.members()};
    const TensorView lse = scratch.take(DType::Fp32, {heads, queries});       // [G, t]
    const TensorView d_q = scratch.take(DType::Fp32, {queries, heads, dim});  // [t, G, D]
    const TensorView d_k = scratch.take(DType::Fp32, {keys, heads, dim});     // [u, G, D]
    const TensorView d_v = scratch.take(DType::Fp32, {keys, heads, dim});     // [u, G, D]
    pack_rows(stream, args.lse, lse, rectangle.query_begin, group);
    // P = exp(scale q k^T - lse): the probabilities over all keys, so the gradients of the rectangles add up
    run(plan,
        {{CudnnTensor::Q, element(args.q, rectangle.query_begin, member)},
         {CudnnTensor::K, element(args.k, rectangle.key_begin, 0)},
         {CudnnTensor::V, element(args.v, rectangle.key_begin, 0)},
         {CudnnTensor::Out, element(args.out, rectangle.query_begin, member)},
         {CudnnTensor::DOut, element(args.d_out, rectangle.query_begin, member)},
         {CudnnTensor::Lse, lse.data},
         {CudnnTensor::DQ, d_q.data},
         {CudnnTensor::DK, d_k.data},
         {CudnnTensor::DV, d_v.data}},
        scratch);
    add_heads(stream, d_q, args.d_q, rectangle.query_begin, group);
    add_heads(stream, d_k, args.d_k, rectangle.key_begin, {});
    add_heads(stream, d_v, args.d_v, rectangle.key_begin, {});
  }

  static CudnnProblem problem_of(AttentionPass pass, const AttentionSizes& sizes, const AttentionRectangle& rectangle,
                                 double scale) {
    return {.pass = pass,
            .kind = rectangle.kind,
            .num_queries = rectangle.num_queries,
            .num_keys = rectangle.num_keys,
            .heads = sizes.heads,
            .kv_heads = sizes.kv_heads,
            .head_dim = sizes.head_dim,
            .scale = scale};
  }

  Plan& plan_for(const CudnnProblem& problem) {
    if (const auto found = plans_.find(problem); found != plans_.end()) return found->second;
    Plan plan;
    try {
      plan.graph.emplace(CudnnGraph::built(problem, sm_version_, handle_));
    } catch (const DeviceError& error) {
      plan.refusal = error.what();
    }
    return plans_.emplace(problem, std::move(plan)).first->second;
  }
  Plan& usable_plan(const CudnnProblem& problem) {
    Plan& plan = plan_for(problem);
    if (!plan.graph) throw PlanFailure(plan.refusal, "", kAdvice);
    return plan;
  }

  /// Asynchronous. A plan that fails once is never tried again.
  void run(Plan& plan, std::initializer_list<CudnnGraph::Pointer> pointers, Arena& scratch) {
    try {
      plan.graph->run(handle_, pointers, take_workspace(scratch, plan.graph->workspace_bytes()));
    } catch (const DeviceError& error) {
      plan.refusal = "it planned this block, but could not run the plan: " + error.where() + ": " + error.message();
      plan.graph.reset();
      throw PlanFailure(plan.refusal, error.where(), kAdvice);
    }
  }

  static constexpr const char* kAdvice = "set parallel.attention_kernel = \"auto\"";

  CudnnHandle handle_;
  int sm_version_ = sm_version_of_current_gpu();
  std::map<CudnnProblem, Plan> plans_;
};

}  // namespace

std::unique_ptr<RectangleAttention> make_cudnn_attention(std::string& why_not) {
  why_not = why_no_cudnn();
  if (!why_not.empty()) return nullptr;
  try {
    return std::make_unique<CudnnAttention>();
  } catch (const DeviceError& error) {  // a library beside libcudnn is missing, or does not fit the GPU
    why_not = error.message();
    return nullptr;
  }
}

std::string describe_cudnn() { return why_no_cudnn().empty() ? cudnn_version() : why_no_cudnn(); }

}  // namespace rondo::cuda
