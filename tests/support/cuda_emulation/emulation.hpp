// SPDX-License-Identifier: Apache-2.0
// Runs CUDA kernels on the CPU, so that the same .cu files are tested where there is no GPU: each thread of a block is a
// fiber, blocks run one after the other, barriers and warp functions switch fibers. The headers next to this file
// replace CUDA's own.
//
// It checks that indices, bounds, barriers, shuffles and arithmetic are right for the sizes that a test uses. It
// fails on divergence (threads that wait at different places, or have ended while others wait), on memory that was
// never written (all memory starts as NaN) and on addresses outside of every buffer (guarded_memory.hpp). Running in
// both orders shows most missing barriers and blocks that rely on each other. It does not model memory ordering, races within a
// warp, registers, hardware limits or speed, and it rounds like this CPU: errors in those show on a GPU only.
#pragma once

#include <array>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace rondo::emulation {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

struct GridShape {
  Index3 grid, block;
  std::size_t shared_bytes = 0;
};

/// A kernel that would hang or be undefined on a GPU; the message says where its threads were.
struct KernelError : std::logic_error {
  using std::logic_error::logic_error;
};

/// The order in which the threads of a block, and the blocks of a grid, run.
enum class Order { Ascending, Descending };
void set_order(Order order);

/// Calls body() as every thread of every block; returns when all have ended.
/// @param kernel an address in the program or library whose static `__shared__` variables the kernel uses
/// @throws KernelError at divergence
void run_grid(const GridShape& shape, const void* kernel, const std::function<void()>& body);

// Called by emulated threads:

/// Dynamic shared memory of the block, initially NaN.
void* dynamic_shared();

struct Votes {
  int count = 0, threads = 0;
};
/// Returns when all threads of the block have called: how many of them voted yes.
Votes meet_block(const char* function, bool vote, const std::source_location& where);

constexpr unsigned kAllLanes = 0xffffffffU;
int lane_index();
/// See warp_exchange; `operands` of lane i is passed to compute as lanes[i], null outside of the mask.
void meet_warp(const char* function, unsigned mask, void* operands, std::size_t bytes,
               const std::function<void(void* const* lanes)>& compute, const std::source_location& where);

/// The base of every warp function, e.g. shuffles or a matrix product: all lanes of the mask deposit operands, the last lane to
/// arrive computes for all, and each lane picks up its results. `compute(lanes)` gets a std::array<Operands*, 32>, null outside
/// of the mask; it reads and writes the operands of every lane, and each lane finds its results in its own.
///
///   struct Operands { const float* in; float out; } mine{...};
///   warp_exchange("my_function", kAllLanes, mine, [](auto& lanes) { for (auto* lane : lanes) lane->out = ...; });
template <typename Operands, typename Compute>
void warp_exchange(const char* function, unsigned mask, Operands& operands, Compute&& compute,
                   const std::source_location& where = std::source_location::current()) {
  const auto typed = [&](void* const* lanes) {
    std::array<Operands*, 32> all;
    for (std::size_t lane = 0; lane < 32; ++lane) all[lane] = static_cast<Operands*>(lanes[lane]);
    compute(all);
  };
  meet_warp(function, mask, &operands, sizeof(Operands), typed, where);
}

/// Asynchronous copies to shared memory, as cp.async: no data arrives before a wait for the group.
void copy_later(void* to, const void* from, std::size_t bytes);
void commit_copies();
/// Returns when at most so many of this thread's committed groups are in flight.
void wait_for_copies(int groups_left);

}  // namespace rondo::emulation
