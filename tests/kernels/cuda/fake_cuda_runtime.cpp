// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/fake_cuda_runtime.hpp"

#include "kernels/cuda/operations.hpp"

namespace {

cudaError_t answer = cudaSuccess;

// What calls make has an address, and nothing more.
template <typename Handle> cudaError_t make(Handle* handle) {
  *handle = reinterpret_cast<Handle>(0x100);
  return answer;
}

}  // namespace

namespace rondo {

namespace test::fake_cuda_runtime {
void answer_with(cudaError_t status) { answer = status; }
}  // namespace test::fake_cuda_runtime

namespace cuda {
void fill(Stream&, const TensorView&, double) {}  // a kernel
}  // namespace cuda

}  // namespace rondo

extern "C" {

const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "another error";
}
const char* cudaGetErrorName(cudaError_t status) {
  return status == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorOther";
}
cudaError_t cudaGetLastError() { return answer; }
cudaError_t cudaSetDevice(int) { return answer; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int) { return answer; }
cudaError_t cudaDeviceGetStreamPriorityRange(int*, int*) { return answer; }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return make(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t) { return answer; }
cudaError_t cudaStreamQuery(cudaStream_t) { return answer; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return answer; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return make(event); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return answer; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return answer; }
cudaError_t cudaEventQuery(cudaEvent_t) { return answer; }
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t) { return answer; }
cudaError_t cudaMalloc(void** memory, size_t) { return make(memory); }
cudaError_t cudaFree(void*) { return answer; }
cudaError_t cudaMallocHost(void** memory, size_t) { return make(memory); }
cudaError_t cudaFreeHost(void*) { return answer; }
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t) { return answer; }
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t) { return answer; }

}  // extern "C"
