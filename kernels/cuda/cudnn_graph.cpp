// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_graph.hpp"

#include <cudnn_frontend.h>
#include <dlfcn.h>

#include "core/error.hpp"

void* cudnn_frontend::cudnn_dlhandle = nullptr;  // the library that the frontend calls

namespace rondo::cuda {

namespace {

namespace fe = cudnn_frontend;
using fe::graph::Tensor_attributes;
using FeTensor = std::shared_ptr<Tensor_attributes>;

// The first version that clears its own dQ workspace; 9.10.0 and 9.10.1 compute wrong gradients.
constexpr std::size_t kOldestVersion = 90600;
bool is_broken(std::size_t version) { return version == 91000 || version == 91001; }

std::string open_library() {
  for (const char* name :
       {"libcudnn.so.9", RONDO_CUDNN_LIBRARY}) {  // as the loader finds it, then where it was at the build
    if (*name != '\0' && fe::cudnn_dlhandle == nullptr) fe::cudnn_dlhandle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (fe::cudnn_dlhandle == nullptr) return "libcudnn.so.9 was not found";
  const std::size_t version = fe::detail::get_backend_version();
  if (version < kOldestVersion || is_broken(version)) {
    return "cuDNN " + fe::detail::convert_version_to_str(version) +
           " is not used: 9.6 or later is, but for 9.10.0 and 9.10.1";
  }
  return {};
}

void expect(fe::error_t status, const CudnnProblem& problem) {
  if (status.is_good()) return;
  throw DeviceError("cuDNN: " + status.get_message(), to_string(problem), "set parallel.attention_kernel = \"fused\"");
}

fe::DataType_t data_type(DType dtype) {
  ensure(dtype == DType::Bf16 || dtype == DType::Fp32, "cuDNN's tensors are bf16 or fp32 here");
  return dtype == DType::Bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT;
}

Tensor_attributes& describe(Tensor_attributes& attributes, const CudnnLayout& layout) {
  return attributes.set_uid(static_cast<std::int64_t>(layout.tensor))
      .set_dim({layout.dims.begin(), layout.dims.end()})
      .set_stride({layout.strides.begin(), layout.strides.end()})
      .set_data_type(data_type(layout.dtype));
}

class AttentionGraph {
 public:
  AttentionGraph(fe::graph::Graph& graph, const CudnnProblem& problem) : graph_(graph), problem_(problem) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    problem_.pass == AttentionPass::Forward ? forward() : backward();
  }

 private:
  // out, lse = softmax(scale q k^T) v and its log-sum-exp
  void forward() {
    auto options = fe::graph::SDPA_attributes().set_name("forward").set_generate_stats(true);
    set_mask_and_scale(options);
    const auto [out, lse] = graph_.sdpa(input(CudnnTensor::Q), input(CudnnTensor::K), input(CudnnTensor::V), options);
    output(out, CudnnTensor::Out);
    output(lse, CudnnTensor::Lse);
  }

  // d_q, d_k, d_v from the final out and lse of all blocks, so what the blocks give is added
  void backward() {
    auto options = fe::graph::SDPA_backward_attributes().set_name("backward");
    set_mask_and_scale(options);
    const auto [d_q, d_k, d_v] =
        graph_.sdpa_backward(input(CudnnTensor::Q), input(CudnnTensor::K), input(CudnnTensor::V),
                             input(CudnnTensor::Out), input(CudnnTensor::DOut), input(CudnnTensor::Lse), options);
    output(d_q, CudnnTensor::DQ);
    output(d_k, CudnnTensor::DK);
    output(d_v, CudnnTensor::DV);
  }

  template <typename Options> void set_mask_and_scale(Options& options) const {
    options.set_attn_scale(static_cast<float>(problem_.scale));
    if (problem_.kind == RectangleKind::Causal) {
      options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    }
  }
  FeTensor input(CudnnTensor tensor) {
    Tensor_attributes attributes;
    return graph_.tensor(describe(attributes, layout_of(problem_, tensor)));
  }
  void output(const FeTensor& tensor, CudnnTensor which) const {
    describe(tensor->set_output(true), layout_of(problem_, which));
  }

  fe::graph::Graph& graph_;
  const CudnnProblem& problem_;
};

// What cudnn-frontend knows of an engine before its kernels are loaded, but tells only of loaded ones.
class PlannedGraph : public fe::graph::Graph {
 public:
  fe::error_t first_engine(std::string& name, std::int64_t& workspace_bytes) {
    fe::EngineConfigList engines = plans.get_barred_engine_configs();  // those that are left, in spite of its name
    ensure(!engines.empty(), "the graph has an engine");
    name = fe::detail::get_engine_tag(engines.front());
    const fe::error_t status = fe::detail::get_workspace_size(engines.front(), workspace_bytes);
    workspace_bytes += get_fe_workspace_size_subtree();
    return status;
  }
};

}  // namespace

struct CudnnGraph::Graph {
  Graph(const CudnnProblem& asked, int sm_version) : problem(asked) {
    graph.set_sm_version(sm_version);  // before its nodes: or they ask a CUDA runtime of their own
    AttentionGraph(graph, problem);
    expect(graph.validate(), problem);
  }
  /// @pre the operation graph is built
  void choose_engine() {
    expect(graph.create_execution_plans({fe::HeurMode_t::A}), problem);
    expect(graph.check_support(), problem);
  }

  CudnnProblem problem;
  PlannedGraph graph;
};

const std::string& why_no_cudnn() {
  static const std::string reason = open_library();
  return reason;
}

std::string cudnn_version() { return fe::detail::get_backend_version_string(); }

CudnnHandle::CudnnHandle() {
  ensure(why_no_cudnn().empty(), "cuDNN is there");
  cudnnHandle_t handle = nullptr;
  const cudnnStatus_t status = fe::detail::create_handle(&handle);
  if (status != CUDNN_STATUS_SUCCESS) {
    throw DeviceError("cuDNN cannot use this GPU: " + std::string(fe::detail::get_error_string(status)), "cudnnCreate");
  }
  handle_ = handle;
}

CudnnHandle::~CudnnHandle() { fe::detail::destroy_handle(static_cast<cudnnHandle_t>(handle_)); }

void CudnnHandle::set_stream(CUstream_st* stream) {
  const cudnnStatus_t status = fe::detail::set_stream(static_cast<cudnnHandle_t>(handle_), stream);
  if (status != CUDNN_STATUS_SUCCESS) throw DeviceError(fe::detail::get_error_string(status), "cudnnSetStream");
}

CudnnGraph::CudnnGraph(std::unique_ptr<Graph> graph) : graph_(std::move(graph)) {}
CudnnGraph::CudnnGraph(CudnnGraph&&) noexcept = default;
CudnnGraph::~CudnnGraph() = default;

CudnnGraph CudnnGraph::planned(const CudnnProblem& problem, int sm_version, const std::string& device_description) {
  CudnnGraph planned(std::make_unique<Graph>(problem, sm_version));
  PlannedGraph& graph = planned.graph_->graph;
  const auto device = std::make_shared<fe::DeviceProperties>();
  std::vector<std::uint8_t> text(device_description.begin(), device_description.end());
  text.push_back(0);  // the backend counts the final zero
  expect(device->deserialize(text), problem);
  graph.set_device_properties(device);
  expect(graph.build_operation_graph(), problem);
  planned.graph_->choose_engine();
  std::int64_t bytes = 0;
  expect(graph.first_engine(planned.engine_, bytes), problem);
  planned.workspace_bytes_ = static_cast<std::size_t>(bytes);
  return planned;
}

CudnnGraph CudnnGraph::built(const CudnnProblem& problem, int sm_version, const CudnnHandle& handle) {
  CudnnGraph built(std::make_unique<Graph>(problem, sm_version));
  fe::graph::Graph& graph = built.graph_->graph;
  expect(graph.build_operation_graph(static_cast<cudnnHandle_t>(handle.native())), problem);
  built.graph_->choose_engine();
  expect(graph.build_plans(), problem);
  std::int64_t bytes = 0;
  expect(graph.get_plan_name(built.engine_), problem);
  expect(graph.get_workspace_size(bytes), problem);
  built.workspace_bytes_ = static_cast<std::size_t>(bytes);
  return built;
}

void CudnnGraph::run(const CudnnHandle& handle, std::initializer_list<Pointer> pointers, void* workspace) const {
  std::unordered_map<std::int64_t, void*> by_number;
  for (const auto& [tensor, pointer] : pointers) by_number.emplace(static_cast<std::int64_t>(tensor), pointer);
  expect(graph_->graph.execute(static_cast<cudnnHandle_t>(handle.native()), by_number, workspace), graph_->problem);
}

}  // namespace rondo::cuda
