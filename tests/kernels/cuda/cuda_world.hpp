// SPDX-License-Identifier: Apache-2.0
// Where a test of the CUDA kernels runs them. Each test program is linked twice: with emulated_world.cpp, which always
// runs, and with gpu_world.cpp, which is skipped visibly where there is no GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "kernels/reference/backend.hpp"
#include "tests/support/tensor.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {

/// The device whose kernels are tested; null, with a reason, where there is none.
std::unique_ptr<Device> open_cuda_device(std::string& why_none);
std::unique_ptr<Backend> make_cuda_backend(Device& device);
/// From now on emulated threads and blocks get their turns in this order; nothing on a GPU, which has its own.
enum class TurnOrder { Ascending, Descending };
void set_turn_order(TurnOrder order);

/// A device with all that an operation needs.
struct Place {
  explicit Place(Device& of, Backend& with) : device(of), backend(with) {}

  Buffer put(const Tensor& tensor) {
    Buffer buffer(device, tensor.dtype(), tensor.shape(), MemoryUse::Workspace);
    device.copy(*stream, buffer.data(), tensor.view().data, tensor.view().size_bytes());
    device.synchronize(*stream);
    return buffer;
  }
  Tensor get(const Buffer& buffer) {
    Tensor tensor(buffer.view().dtype, buffer.view().shape);
    device.copy(*stream, tensor.view().data, buffer.data(), tensor.view().size_bytes());
    device.synchronize(*stream);
    return tensor;
  }
  std::vector<Tensor> get_all(const std::vector<Buffer>& buffers) {
    std::vector<Tensor> tensors;
    for (const Buffer& buffer : buffers) tensors.push_back(get(buffer));
    return tensors;
  }

  Device& device;
  Backend& backend;
  std::unique_ptr<Stream> stream = device.make_stream(StreamRole::Compute);
  Arena scratch{device, MemoryUse::Workspace};  // new for each computation: nothing is left in it
};

inline std::vector<Buffer> put_all(Place& place, const std::vector<const Tensor*>& tensors) {
  std::vector<Buffer> buffers;
  for (const Tensor* tensor : tensors) buffers.push_back(place.put(*tensor));
  return buffers;
}

/// Runs computations on the GPU, and on the CPU in the same precision and in fp64.
class CudaWorld : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_none;
    device_ = open_cuda_device(why_none);
    if (device_ == nullptr) GTEST_SKIP() << "no GPU: " << why_none;
    backend_ = make_cuda_backend(*device_);
  }

  /// compute(place) in the precision under test, twice, in both orders of turns: bitwise the same.
  template <typename Compute> std::vector<Tensor> on_device(Compute&& compute) {
    std::vector<Tensor> results[2];
    for (const TurnOrder order : {TurnOrder::Ascending, TurnOrder::Descending}) {
      set_turn_order(order);
      Place place(*device_, *backend_);
      results[static_cast<int>(order)] = compute(place);
    }
    for (std::size_t i = 0; i < results[0].size(); ++i) {
      const TensorView &first = results[0][i].view(), &second = results[1][i].view();
      EXPECT_EQ(std::memcmp(first.data, second.data, first.size_bytes()), 0) << "two runs differ, output " << i;
    }
    return std::move(results[0]);
  }
  template <typename Compute> std::vector<Tensor> on_host(Compute&& compute) {
    Place place(cpu_device(), *reference_);
    return compute(place);
  }

  /// compute(place, type, held): inputs are the same numbers, rounded to `type`, for every type that holds them.
  template <typename Compute> void expect_like_reference(DType type, Compute compute) {
    const std::vector<Tensor> result = on_device([&](Place& place) { return compute(place, type, type); });
    const std::vector<Tensor> plain = on_host([&](Place& place) { return compute(place, type, type); });
    const std::vector<Tensor> exact = on_host([&](Place& place) { return compute(place, type, DType::Fp64); });
    for (std::size_t i = 0; i < result.size(); ++i) {
      EXPECT_TRUE(fits(result[i], plain[i], exact[i])) << "output " << i << ", " << name_of(type);
    }
  }
  template <typename Compute> void expect_like_reference(Compute compute) {
    for (const DType type : {DType::Fp64, DType::Fp32, DType::Bf16}) expect_like_reference(type, compute);
  }
  /// compute(place) gives the same bits as on the reference backend.
  template <typename Compute> void expect_equal_to_reference(Compute compute) {
    const std::vector<Tensor> result = on_device(compute), expected = on_host(compute);
    for (std::size_t i = 0; i < result.size(); ++i) {
      EXPECT_EQ(max_difference(result[i], expected[i]), 0) << "output " << i;
    }
  }

  /// The tolerance rule. In fp64 the plain version is the exact one: there only the order of sums differs, by far less
  /// than 1e-12 of the largest value for the at most some thousand terms of a test.
  static testing::AssertionResult fits(const Tensor& result, const Tensor& plain, const Tensor& exact) {
    if (result.dtype() != DType::Fp64) return within_tolerance(result, plain, exact);
    double largest = 0;
    for (std::int64_t i = 0; i < exact.count(); ++i) {
      if (std::isfinite(exact[i])) largest = std::max(largest, std::abs(exact[i]));
    }
    const double error = max_difference(result, exact);
    if (error <= 1e-12 * largest) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "fp64 error " << error << ", values up to " << largest;
  }

  /// Rounded to `type`, held as `held`.
  static Tensor input(DType type, DType held, const Shape& shape, std::uint64_t seed, double deviation = 1) {
    return Tensor::random(type, shape, seed, deviation).converted(held);
  }

 private:
  std::unique_ptr<Device> device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> reference_ = make_reference_backend(cpu_device());
};

}  // namespace rondo::test
