// SPDX-License-Identifier: Apache-2.0
// Common to all operations of the cpu backend: the kernels chosen for this processor, the number of threads, and the
// conversion of element types to those of the inner kernels.
#pragma once

#include <memory>
#include <string>

#include "core/device.hpp"
#include "kernels/backend.hpp"
#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/kernel_table.hpp"
#include "kernels/cpu/parallel.hpp"

namespace rondo::cpu {

struct Context {
  Isa isa;
  int threads;
  const KernelTable& kernels;
  const AttentionKernels* bf16_attention;  // AMX, or the same as kernels.attention
};

/// A backend with kernels of the caller's choice, for tests.
std::unique_ptr<Backend> make_backend(Device& device, const Context& context);

/// Throws ConfigError for types that only the reference backend supports.
inline Storage storage_of(DType type) {
  if (type == DType::Fp32) return Storage::Fp32;
  if (type == DType::Bf16) return Storage::Bf16;
  throw ConfigError("the cpu backend has no kernels for " + std::string(name_of(type)), "parallel.device",
                    "set parallel.device = reference, which computes in fp64");
}

/// The inner attention kernels for an element type.
inline const AttentionKernels& attention_kernels_for(const Context& context, DType type) {
  return storage_of(type) == Storage::Bf16 ? *context.bf16_attention : context.kernels.attention;
}

/// Address of an element by its index.
inline char* at(const TensorView& view, std::int64_t index) {
  return static_cast<char*>(view.data) + index * static_cast<std::int64_t>(size_of(view.dtype));
}

/// Elements per chunk of one-pass operations: fixed, so that results do not depend on the number of threads; small enough
/// that a chunk takes less than the progress interval.
inline constexpr std::int64_t kPassChunk = 32768;

/// Rows of `columns` elements that make about one chunk.
inline std::int64_t rows_per_chunk(std::int64_t columns) {
  return std::max<std::int64_t>(1, kPassChunk / std::max<std::int64_t>(1, columns));
}

}  // namespace rondo::cpu
