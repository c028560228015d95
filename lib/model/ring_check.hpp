// SPDX-License-Identifier: Apache-2.0
// parallel.self_check: compares Ring Attention over the ranks of this launch, on a small problem, with one rank that holds the
// whole sequence, to find a broken network, driver or kernel before the first step.
#pragma once

#include "comm/mpi_session.hpp"
#include "core/sequence_layout.hpp"
#include "runtime/execution.hpp"

namespace rondo {

struct RingCheck {
  DType dtype;
  LayoutKind layout;
  std::int64_t heads, kv_heads, head_dim;
  std::int64_t window = 0;  // as model.window
};

/// Largest error of out, d_q, d_k and d_v on this rank, each relative to the largest value of its tensor.
/// @param one an execution of one rank that computes in fp64
double ring_error(Execution& ring, Execution& one, const RingCheck& check);

/// Collective over `world`. Throws an AgreedError (Device) that names the rank if the error on any rank is larger than rounding
/// in the type explains.
void check_ring(const Communicator& world, Execution& ring, Execution& one, const RingCheck& check);

}  // namespace rondo
