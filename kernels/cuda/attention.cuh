// SPDX-License-Identifier: Apache-2.0
// What the attention kernels shard: their tensors and the mask as plain data of the device, sizes of a block.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/runs.cuh"

namespace rondo::cuda {

inline constexpr int kTileThreads = 128;  // also the keys, or queries, of a tile

/// The key positions that each of the T queries sees, computed on the device in stream order. Document offsets travel as
/// parameters of the kernel, so the host neither waits nor has to keep them. @pre inside a Scope, which keeps the memory
const KeyInterval* visible_keys(Stream& stream, const TokenRuns& query_runs, const AttentionMaskView& mask,
                                Arena& scratch);

/// What all attention kernels take besides their tensors.
struct BlockGeometry {
  AttentionSizes sizes;
  DeviceRuns key_runs;
  const KeyInterval* visible;  // [T]
};

/// Checks the arguments of forward or backward. @pre as for visible_keys
template <typename Args> BlockGeometry geometry_of(Stream& stream, const Args& args) {
  return {.sizes = rondo::check(args),
          .key_runs = device_runs(args.key_runs),
          .visible = visible_keys(stream, args.query_runs, args.mask, args.scratch)};
}

template <typename E, typename Sum> struct ForwardTensors {
  const E* q;
  const E* k;
  const E* v;
  Sum* out;
  Sum* lse;
  Sum scale;
};

template <typename T>
ForwardTensors<Element<T>, Accumulator<T>> forward_tensors(const BlockAttentionForwardArgs& args) {
  using Sum = Accumulator<T>;
  return {.q = elements<T>(args.q),
          .k = elements<T>(args.k),
          .v = elements<T>(args.v),
          .out = args.carry.out.as<Sum>(),
          .lse = args.carry.lse.as<Sum>(),
          .scale = static_cast<Sum>(args.scale)};
}

template <typename E, typename Sum> struct BackwardTensors {
  const E* q;
  const E* k;
  const E* v;
  const E* d_out;
  const Sum* lse;
  const Sum* delta;
  Sum* d_q;
  Sum* d_k;
  Sum* d_v;
  Sum scale;
};

template <typename T>
BackwardTensors<Element<T>, Accumulator<T>> backward_tensors(const BlockAttentionBackwardArgs& args) {
  using Sum = Accumulator<T>;
  return {.q = elements<T>(args.q),
          .k = elements<T>(args.k),
          .v = elements<T>(args.v),
          .d_out = elements<T>(args.d_out),
          .lse = args.lse.as<Sum>(),
          .delta = args.delta.as<Sum>(),
          .d_q = args.d_q.as<Sum>(),
          .d_k = args.d_k.as<Sum>(),
          .d_v = args.d_v.as<Sum>(),
          .scale = static_cast<Sum>(args.scale)};
}

}  // namespace rondo::cuda
