// SPDX-License-Identifier: Apache-2.0
// Stands in for kernels/cuda/cudnn_graph.cpp: computes what cuDNN is asked for, in double, through the same layouts and
// pointers. So all that surrounds cuDNN is tested without it: rectangles, offsets, groups of heads, merging and adding.
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "core/error.hpp"
#include "kernels/cuda/cudnn_graph.hpp"
#include "kernels/cuda/sm_version.hpp"

namespace rondo::test {

bool can_cudnn_start = true;                                  // set by tests
std::function<bool(const cuda::CudnnProblem&)> fails_to_run;  // set by tests
int num_failed_runs = 0;

}  // namespace rondo::test

namespace rondo::cuda {

namespace {

constexpr std::int64_t kRefusedHeadDim = 40;  // so that tests see what happens then

/// Element access through one of cuDNN's layouts.
class Operand {
 public:
  Operand(const CudnnProblem& problem, CudnnTensor tensor, void* data)
      : layout_(layout_of(problem, tensor)), data_(data) {
    ensure(reinterpret_cast<std::uintptr_t>(data) % 16 == 0, "cuDNN's tensors begin at multiples of 16 bytes");
  }
  double get(std::int64_t head, std::int64_t token, std::int64_t d) const {
    const std::int64_t i = index(head, token, d);
    return layout_.dtype == DType::Bf16 ? static_cast<double>(static_cast<bf16*>(data_)[i])
                                        : static_cast<double>(static_cast<float*>(data_)[i]);
  }
  void set(std::int64_t head, std::int64_t token, std::int64_t d, double value) const {
    ensure(layout_.dtype == DType::Fp32, "results are fp32");
    static_cast<float*>(data_)[index(head, token, d)] = static_cast<float>(value);
  }

 private:
  std::int64_t index(std::int64_t head, std::int64_t token, std::int64_t d) const {
    ensure(head < layout_.dims[1] && token < layout_.dims[2] && d < layout_.dims[3], "the element is in the tensor");
    return head * layout_.strides[1] + token * layout_.strides[2] + d * layout_.strides[3];
  }

  CudnnLayout layout_;
  void* data_;
};

double rounded(double value) { return static_cast<double>(bf16(static_cast<float>(value))); }

class Computation {
 public:
  Computation(const CudnnProblem& problem, const std::map<CudnnTensor, void*>& pointers)
      : problem_(problem), pointers_(pointers) {}

  void forward() const {
    const Operand q = operand(CudnnTensor::Q), k = operand(CudnnTensor::K), v = operand(CudnnTensor::V);
    const Operand out = operand(CudnnTensor::Out), lse = operand(CudnnTensor::Lse);
    for (std::int64_t head = 0; head < problem_.call_heads(); ++head) {
      for (std::int64_t i = 0; i < problem_.num_queries; ++i) {
        const std::vector<double> scores = scores_of(q, k, head, i);
        double total = 0;
        for (const double score : scores) total += std::exp(score);
        lse.set(head, i, 0, std::log(total));
        for (std::int64_t d = 0; d < problem_.head_dim; ++d) {
          double sum = 0;
          for (std::size_t j = 0; j < scores.size(); ++j) {
            sum += std::exp(scores[j]) * v.get(key_head(head), static_cast<std::int64_t>(j), d);
          }
          out.set(head, i, d, sum / total);
        }
      }
    }
  }

  void backward() const {
    const std::int64_t dim = problem_.head_dim;
    const Operand q = operand(CudnnTensor::Q), k = operand(CudnnTensor::K), v = operand(CudnnTensor::V);
    const Operand out = operand(CudnnTensor::Out), d_out = operand(CudnnTensor::DOut), lse = operand(CudnnTensor::Lse);
    for (std::int64_t head = 0; head < problem_.call_heads(); ++head) {
      std::vector<double> d_k(static_cast<std::size_t>(problem_.num_keys * dim)), d_v(d_k.size());
      for (std::int64_t i = 0; i < problem_.num_queries; ++i) {
        std::vector<double> d_q(static_cast<std::size_t>(dim));
        double delta = 0;
        for (std::int64_t d = 0; d < dim; ++d) delta += out.get(head, i, d) * d_out.get(head, i, d);
        const std::vector<double> scores = scores_of(q, k, head, i);
        for (std::size_t j = 0; j < scores.size(); ++j) {
          const auto key = static_cast<std::int64_t>(j);
          const double p = std::exp(scores[j] - lse.get(head, i, 0));
          double d_p = 0;
          for (std::int64_t d = 0; d < dim; ++d) d_p += d_out.get(head, i, d) * v.get(key_head(head), key, d);
          const double ds = rounded(p * (d_p - delta));
          for (std::int64_t d = 0; d < dim; ++d) {
            const auto at = j * static_cast<std::size_t>(dim) + static_cast<std::size_t>(d);
            d_v[at] += rounded(p) * d_out.get(head, i, d);
            d_k[at] += problem_.scale * ds * q.get(head, i, d);
            d_q[static_cast<std::size_t>(d)] += problem_.scale * ds * k.get(key_head(head), key, d);
          }
        }
        for (std::int64_t d = 0; d < dim; ++d)
          operand(CudnnTensor::DQ).set(head, i, d, d_q[static_cast<std::size_t>(d)]);
      }
      for (std::int64_t j = 0; j < problem_.num_keys; ++j) {
        for (std::int64_t d = 0; d < dim; ++d) {
          operand(CudnnTensor::DK).set(head, j, d, d_k[static_cast<std::size_t>(j * dim + d)]);
          operand(CudnnTensor::DV).set(head, j, d, d_v[static_cast<std::size_t>(j * dim + d)]);
        }
      }
    }
  }

 private:
  Operand operand(CudnnTensor tensor) const { return {problem_, tensor, pointers_.at(tensor)}; }
  std::int64_t key_head(std::int64_t head) const { return head / (problem_.call_heads() / problem_.kv_heads); }

  /// scale q k^T of one query, for the keys that it sees.
  std::vector<double> scores_of(const Operand& q, const Operand& k, std::int64_t head, std::int64_t query) const {
    std::vector<double> scores;
    const std::int64_t end = problem_.kind == RectangleKind::Causal ? query + 1 : problem_.num_keys;
    for (std::int64_t j = 0; j < end; ++j) {
      double score = 0;
      for (std::int64_t d = 0; d < problem_.head_dim; ++d) score += q.get(head, query, d) * k.get(key_head(head), j, d);
      scores.push_back(problem_.scale * score);
    }
    return scores;
  }

  const CudnnProblem& problem_;
  const std::map<CudnnTensor, void*>& pointers_;
};

}  // namespace

struct CudnnGraph::Graph {
  CudnnProblem problem;
};

int sm_version_of_current_gpu() { return 90; }

const std::string& why_no_cudnn() {
  static const std::string reason;
  return reason;
}
std::string cudnn_version() { return "stand-in"; }

CudnnHandle::CudnnHandle() {
  if (!test::can_cudnn_start) throw DeviceError("cuDNN cannot use this GPU");
}
CudnnHandle::~CudnnHandle() = default;
void CudnnHandle::set_stream(CUstream_st*) {}

CudnnGraph::CudnnGraph(std::unique_ptr<Graph> graph) : graph_(std::move(graph)) {}
CudnnGraph::CudnnGraph(CudnnGraph&&) noexcept = default;
CudnnGraph::~CudnnGraph() = default;

CudnnGraph CudnnGraph::built(const CudnnProblem& problem, int, const CudnnHandle&) {
  if (problem.head_dim == kRefusedHeadDim) throw DeviceError("cuDNN: no engine", to_string(problem));
  return CudnnGraph(std::make_unique<Graph>(Graph{problem}));
}

void CudnnGraph::run(const CudnnHandle&, std::initializer_list<Pointer> pointers, void*) const {
  if (test::fails_to_run && test::fails_to_run(graph_->problem)) {
    ++test::num_failed_runs;
    throw DeviceError("cuDNN: execution failed", to_string(graph_->problem));
  }
  const std::map<CudnnTensor, void*> by_tensor(pointers.begin(), pointers.end());
  const Computation computation(graph_->problem, by_tensor);
  graph_->problem.pass == AttentionPass::Forward ? computation.forward() : computation.backward();
}

}  // namespace rondo::cuda
