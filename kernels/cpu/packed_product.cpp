// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed_product.hpp"

#include <dnnl.hpp>
#include <omp.h>
#include <optional>
#include <string>
#include <utility>

#include "kernels/cpu/context.hpp"

namespace rondo::cpu {

struct PackedSquareProduct::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul primitive;
  dnnl::memory a, b, c;
  std::string implementation;
  int threads = 1;
};

namespace {

std::optional<dnnl::matmul::primitive_desc> describe(const dnnl::matmul::desc& product, const dnnl::engine& engine) {
  try {
    return dnnl::matmul::primitive_desc(product, engine);
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return {};
  }
}

}  // namespace

std::unique_ptr<PackedSquareProduct> PackedSquareProduct::make(DType dtype, std::int64_t size, int threads) {
  auto state = std::make_unique<State>();
  State& s = *state;
  s.threads = threads;
  omp_set_num_threads(threads);
  const auto type = storage_of(dtype) == Storage::Fp32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
  const dnnl::memory::dims dims{size, size};
  const dnnl::memory::desc plain(dims, type, dnnl::memory::format_tag::ab);
  const dnnl::memory::desc any(dims, type, dnnl::memory::format_tag::any);
  const auto description = describe({plain, any, plain}, s.engine);
  if (!description) return nullptr;
  s.primitive = dnnl::matmul(*description);
  s.implementation = description->impl_info_str();
  // Reordering from plain fp32 fills the operands in any format.
  const dnnl::memory::desc ones_desc(dims, dnnl::memory::data_type::f32, dnnl::memory::format_tag::ab);
  dnnl::memory values(ones_desc, s.engine);
  auto* value = static_cast<float*>(values.get_data_handle());
  for (std::int64_t i = 0; i < size * size; ++i) value[i] = static_cast<float>(i * 7 % 13 - 6) / 16.0F;
  s.a = dnnl::memory(description->src_desc(), s.engine);
  s.b = dnnl::memory(description->weights_desc(), s.engine);
  s.c = dnnl::memory(description->dst_desc(), s.engine);
  dnnl::reorder(values, s.a).execute(s.stream, values, s.a);
  dnnl::reorder(values, s.b).execute(s.stream, values, s.b);
  s.stream.wait();
  return std::unique_ptr<PackedSquareProduct>(new PackedSquareProduct(std::move(state)));
}

PackedSquareProduct::PackedSquareProduct(std::unique_ptr<State> state) : state_(std::move(state)) {}
PackedSquareProduct::~PackedSquareProduct() = default;

void PackedSquareProduct::run() {
  State& s = *state_;
  omp_set_num_threads(s.threads);
  s.primitive.execute(s.stream, {{DNNL_ARG_SRC, s.a}, {DNNL_ARG_WEIGHTS, s.b}, {DNNL_ARG_DST, s.c}});
  s.stream.wait();
}

const char* PackedSquareProduct::implementation() const { return state_->implementation.c_str(); }

}  // namespace rondo::cpu
