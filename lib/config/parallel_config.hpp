// SPDX-License-Identifier: Apache-2.0
// [parallel]: how ranks, devices and threads divide the work. These keys change results by rounding at most.
#pragma once

#include <optional>

#include "config/words.hpp"
#include "core/attention_kernel.hpp"
#include "core/sequence_layout.hpp"

namespace rondo {

constexpr auto words_of(LayoutKind) {
  return std::to_array<Word<LayoutKind>>({{LayoutKind::Contiguous, "contiguous"},
                                          {LayoutKind::Zigzag, "zigzag"},
                                          {LayoutKind::Striped, "striped"},
                                          {LayoutKind::BlockCyclic, "block_cyclic"}});
}

enum class DeviceChoice { Auto, Cpu, Cuda, Reference };
constexpr auto words_of(DeviceChoice) {
  return std::to_array<Word<DeviceChoice>>({{DeviceChoice::Auto, "auto"},
                                            {DeviceChoice::Cpu, "cpu"},
                                            {DeviceChoice::Cuda, "cuda"},
                                            {DeviceChoice::Reference, "reference"}});
}

enum class TransportChoice { Auto, Mpi, Nccl };
constexpr auto words_of(TransportChoice) {
  return std::to_array<Word<TransportChoice>>(
      {{TransportChoice::Auto, "auto"}, {TransportChoice::Mpi, "mpi"}, {TransportChoice::Nccl, "nccl"}});
}

enum class ShardChoice { None };
constexpr auto words_of(ShardChoice) { return std::to_array<Word<ShardChoice>>({{ShardChoice::None, "none"}}); }

constexpr auto words_of(AttentionKernel) {
  return std::to_array<Word<AttentionKernel>>(
      {{AttentionKernel::Auto, "auto"}, {AttentionKernel::Cudnn, "cudnn"}, {AttentionKernel::Fused, "fused"}});
}

/// Each thread block of NCCL occupies a multiprocessor. This many suffice for a ring, whose transfers overlap block attention.
inline constexpr int kDefaultNcclMaxCtas = 8;

struct ParallelConfig {
  int ring = 0;                      // ranks per ring, 0: all; world = data x ring
  std::optional<LayoutKind> layout;  // empty: auto
  DeviceChoice device = DeviceChoice::Auto;
  TransportChoice transport = TransportChoice::Auto;
  int nccl_max_ctas = kDefaultNcclMaxCtas;  // thread blocks that NCCL takes at most
  ShardChoice shard = ShardChoice::None;
  int threads = 0;  // per rank, 0: the cores that it may use, divided among the ranks that may use them too
  AttentionKernel attention_kernel = AttentionKernel::Auto;
  bool self_check = false;

  bool operator==(const ParallelConfig&) const = default;
};

}  // namespace rondo
