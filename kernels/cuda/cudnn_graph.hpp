// SPDX-License-Identifier: Apache-2.0
// cuDNN: finding the library at run time, and its fused attention for one rectangle as a planned graph. The only place
// that sees cudnn-frontend, whose headers take long to compile.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "kernels/cuda/cudnn_tensors.hpp"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace rondo::cuda {

/// Opens libcudnn, once. @returns why cuDNN cannot be used; empty when it can
const std::string& why_no_cudnn();
/// e.g. "9.19.0". @pre why_no_cudnn() is empty
std::string cudnn_version();

/// cuDNN's state for the current GPU. @pre why_no_cudnn() is empty
class CudnnHandle {
 public:
  CudnnHandle();
  ~CudnnHandle();
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  void set_stream(CUstream_st* stream);
  void* native() const { return handle_; }

 private:
  void* handle_ = nullptr;
};

class CudnnGraph {
 public:
  /// Plans for a GPU that is described by cuDNN's JSON and need not be there; such a graph cannot run.
  /// @param sm_version e.g. 90
  /// @throws DeviceError when no engine of cuDNN computes the problem
  static CudnnGraph planned(const CudnnProblem& problem, int sm_version, const std::string& device_description);
  /// Plans and loads for the GPU of the handle.
  static CudnnGraph built(const CudnnProblem& problem, int sm_version, const CudnnHandle& handle);

  CudnnGraph(CudnnGraph&&) noexcept;
  ~CudnnGraph();

  /// cuDNN's name of the engine and its settings.
  const std::string& engine() const { return engine_; }
  std::size_t workspace_bytes() const { return workspace_bytes_; }

  using Pointer = std::pair<CudnnTensor, void*>;
  /// Asynchronous on the handle's stream. @pre built; a pointer for each tensor of the pass; workspace of workspace_bytes()
  void run(const CudnnHandle& handle, std::initializer_list<Pointer> pointers, void* workspace) const;

 private:
  struct Graph;
  explicit CudnnGraph(std::unique_ptr<Graph> graph);

  std::unique_ptr<Graph> graph_;
  std::string engine_;
  std::size_t workspace_bytes_ = 0;
};

}  // namespace rondo::cuda
