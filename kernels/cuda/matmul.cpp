// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/matmul.hpp"

#include <algorithm>
#include <cstdint>
#include <cublasLt.h>
#include <map>
#include <source_location>
#include <string>
#include <tuple>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/check_release.hpp"
#include "kernels/cuda/device.hpp"

namespace rondo::cuda {

namespace {

void check_cublas(cublasStatus_t status, std::source_location caller = std::source_location::current()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(
      std::string("cublasLt: ") + cublasLtGetStatusString(status) + " (" + cublasLtGetStatusName(status) + ")",
      std::string(caller.file_name()) + ":" + std::to_string(caller.line()));
}

/// A handle of cublasLt that is destroyed with its owner.
template <typename Handle, auto kDestroy> class LtOwned {
 public:
  LtOwned() = default;
  ~LtOwned() {
    const bool is_released = handle_ == nullptr || kDestroy(handle_) == CUBLAS_STATUS_SUCCESS;
    check_release(is_released ? cudaSuccess : cudaErrorUnknown, "a handle of cublasLt");
  }
  LtOwned(const LtOwned&) = delete;
  LtOwned& operator=(const LtOwned&) = delete;

  Handle get() const { return handle_; }
  Handle* place() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

using LtLibrary = LtOwned<cublasLtHandle_t, cublasLtDestroy>;
using LtOperation = LtOwned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using LtLayout = LtOwned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using LtPreference = LtOwned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t blas_type_of(DType type) {
  if (type == DType::Fp64) return CUDA_R_64F;
  return type == DType::Fp32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// The largest power of two up to 256 that divides an address: what cublasLt asks for.
std::uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(address & (~address + 1), 256));
}

/// All that the choice of an algorithm depends on.
struct MatmulKey {
  std::int64_t m, n, k;
  bool a_transposed, b_transposed, accumulate;
  DType type, result_type;
  std::uint32_t a_alignment, b_alignment, c_alignment;

  auto all() const {
    return std::tie(m, n, k, a_transposed, b_transposed, accumulate, type, result_type, a_alignment, b_alignment,
                    c_alignment);
  }
  bool operator<(const MatmulKey& other) const { return all() < other.all(); }
};

void describe(LtLayout& layout, DType type, std::int64_t rows, std::int64_t columns) {
  check_cublas(cublasLtMatrixLayoutCreate(layout.place(), blas_type_of(type), static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(columns), rows));
}

template <typename Value> void set(LtPreference& preference, cublasLtMatmulPreferenceAttributes_t name, Value value) {
  check_cublas(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof value));
}

struct MatmulPlan {
  LtOperation operation;
  LtLayout first, second, result;
  cublasLtMatmulAlgo_t algorithm{};

  MatmulPlan(cublasLtHandle_t library, const MatmulKey& key, const ColumnMajorProduct& product) {
    const bool is_fp64 = key.type == DType::Fp64;
    // fp32 operands keep their 24 bits (no TF32), bf16 operands are summed in fp32.
    check_cublas(cublasLtMatmulDescCreate(operation.place(), is_fp64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                          is_fp64 ? CUDA_R_64F : CUDA_R_32F));
    const auto turn = [&](cublasLtMatmulDescAttributes_t name, bool is_transposed) {
      const cublasOperation_t value = is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
      check_cublas(cublasLtMatmulDescSetAttribute(operation.get(), name, &value, sizeof value));
    };
    turn(CUBLASLT_MATMUL_DESC_TRANSA, product.first.is_transposed);
    turn(CUBLASLT_MATMUL_DESC_TRANSB, product.second.is_transposed);
    describe(first, key.type, product.first.rows, product.first.columns);
    describe(second, key.type, product.second.rows, product.second.columns);
    describe(result, key.result_type, product.rows, product.columns);

    LtPreference preference;
    check_cublas(cublasLtMatmulPreferenceCreate(preference.place()));
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{Matmul::kWorkspaceBytes});
    // Partial sums are added in fp32 and in a fixed order; never in the type of the result.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.b_alignment);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.a_alignment);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.c_alignment);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.c_alignment);
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    check_cublas(cublasLtMatmulAlgoGetHeuristic(library, operation.get(), first.get(), second.get(), result.get(),
                                                result.get(), preference.get(), 1, &best, &found));
    if (found == 0 || best.state != CUBLAS_STATUS_SUCCESS) {
      throw DeviceError("cublasLt has no algorithm for a product of " + std::to_string(key.m) + " x " +
                        std::to_string(key.k) + " by " + std::to_string(key.k) + " x " + std::to_string(key.n));
    }
    algorithm = best.algo;
  }
};

}  // namespace

/// The plans made so far. Which one a product gets depends on its shape alone, never on timing.
class Matmul::Plans {
 public:
  Plans() { check_cublas(cublasLtCreate(library_.place())); }

  cublasLtHandle_t library() const { return library_.get(); }
  const MatmulPlan& plan(const MatmulKey& key, const ColumnMajorProduct& product) {
    std::unique_ptr<MatmulPlan>& plan = plans_[key];
    if (plan == nullptr) plan = std::make_unique<MatmulPlan>(library_.get(), key, product);
    return *plan;
  }

 private:
  LtLibrary library_;
  std::map<MatmulKey, std::unique_ptr<MatmulPlan>> plans_;
};

Matmul::Matmul(Device& device)
    : device_(device), workspace_(device, kWorkspaceBytes, MemoryUse::Workspace), plans_(std::make_unique<Plans>()) {}
Matmul::~Matmul() = default;

void Matmul::operator()(Stream& stream, const MatmulArgs& args) {
  const MatmulSizes sizes = rondo::check(args);
  ensure(stream.role() == StreamRole::Compute, "products share a workspace, so all are on the compute stream");
  if (sizes.m == 0 || sizes.n == 0) return;
  if (sizes.k == 0) {  // an empty sum, which cublasLt refuses
    if (!args.accumulate) device_.fill_zero(stream, args.c.data, args.c.size_bytes());
    return;
  }
  const MatmulKey key{.m = sizes.m,
                      .n = sizes.n,
                      .k = sizes.k,
                      .a_transposed = args.transpose_a == Transpose::Yes,
                      .b_transposed = args.transpose_b == Transpose::Yes,
                      .accumulate = args.accumulate,
                      .type = args.a.dtype,
                      .result_type = args.c.dtype,
                      .a_alignment = alignment_of(args.a.data),
                      .b_alignment = alignment_of(args.b.data),
                      .c_alignment = alignment_of(args.c.data)};
  const MatmulPlan& plan = plans_->plan(key, column_major(sizes, args.transpose_a, args.transpose_b));
  const float beta = args.accumulate ? 1.0F : 0.0F, one = 1.0F;
  const double beta_fp64 = beta, one_fp64 = one;
  const bool is_fp64 = args.a.dtype == DType::Fp64;
  const void* factor = is_fp64 ? static_cast<const void*>(&one_fp64) : &one;
  const void* kept = is_fp64 ? static_cast<const void*>(&beta_fp64) : &beta;
  check_cublas(cublasLtMatmul(plans_->library(), plan.operation.get(), factor, args.b.data, plan.first.get(),
                              args.a.data, plan.second.get(), kept, args.c.data, plan.result.get(), args.c.data,
                              plan.result.get(), &plan.algorithm, workspace_.data(), kWorkspaceBytes, native(stream)));
}

}  // namespace rondo::cuda
