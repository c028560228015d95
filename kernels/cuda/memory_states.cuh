// SPDX-License-Identifier: Apache-2.0
// What the steps of a run do to M, and the chain of its states. What a segment does depends on keys, values and normalisers
// alone: M becomes M - P M + A with A = Phi^T V and P = Phi^T diag(w) Phi, and both are found for all steps at once. Only the
// products P M come one after the other, D^3 a step however long its segment is, and there the columns of M are independent.
#pragma once

#include "kernels/cuda/memory_tensors.cuh"

namespace rondo::cuda {

/// The largest head dimension: a thread of the chain has whole rows of its columns in registers.
inline constexpr int kMostMemoryDim = 512;

/// w of a written token: `overlap` where it is 1 / c, `within` where it is 1 / e; the other is 0.
template <typename Sum> struct WriteWeight {
  Sum overlap, within;
  __device__ Sum value() const { return overlap + within; }
};

/// weights [steps, L, G], for delta rules; nothing is written for steps without a segment, here and below.
template <typename E, typename Sum>
void find_weights(Stream& stream, const MemoryTensors<E, Sum>& memory, WriteWeight<Sum>* weights);
/// added [steps, G, D, D] = Phi^T V
template <typename E, typename Sum> void find_added(Stream& stream, const MemoryTensors<E, Sum>& memory, Sum* added);
/// decays [steps, G, D, D] = Phi^T diag(w) Phi, symmetric
template <typename E, typename Sum>
void find_decays(Stream& stream, const MemoryTensors<E, Sum>& memory, const WriteWeight<Sum>* weights, Sum* decays);

/// Steps in order: state = state - P state + added where a segment is written. Or backward, for the gradient of the state:
/// it gets what the reads of a step want added, and loses P d where a segment was written.
template <typename Sum> struct StateChain {
  const DeviceStep* steps;
  std::int64_t num_steps;
  int kv_heads, dim;
  double* state;      // [G, D, D], before the first step in, behind the last one out
  const Sum* added;   // [steps, G, D, D]
  const Sum* decays;  // [steps, G, D, D], or null: the linear rule
  Sum* met;           // [steps, G, D, D] or null, also the memory of `added`: the state that each step met
  bool is_backward = false;
  bool is_decay = false;  // what a reset leaves is 1, not 0: nothing of what was before is left
};
template <typename Sum> void run_chain(Stream& stream, const StateChain<Sum>& chain);

/// Forward through some steps: the states that they meet, in the accumulator type, and what M loses. Arrays of the scratch
/// memory. @pre inside a Scope, which keeps them
template <typename Sum> struct GroupStates {
  WriteWeight<Sum>* weights = nullptr;  // [steps, L, G]; null for the linear rule, as decays
  Sum* decays = nullptr;                // [steps, G, D, D]
  Sum* states = nullptr;                // [steps, G, D, D]

  template <typename E>
  static GroupStates without_states(Stream& stream, const MemoryTensors<E, Sum>& memory, Arena& scratch) {
    GroupStates group;
    if (memory.rule == MemoryRule::Linear) return group;
    const std::int64_t rows = memory.num_written() * memory.kv_heads;
    group.weights =
        static_cast<WriteWeight<Sum>*>(scratch.take(static_cast<std::size_t>(rows) * sizeof(WriteWeight<Sum>)));
    group.decays = take_matrices(memory, scratch);
    find_weights(stream, memory, group.weights);
    find_decays(stream, memory, group.weights, group.decays);
    return group;
  }
  /// @param m [G, D, D], before the steps in, after them out
  template <typename E>
  static GroupStates of(Stream& stream, const MemoryTensors<E, Sum>& memory, Arena& scratch, double* m) {
    GroupStates group = without_states(stream, memory, scratch);
    group.states = take_matrices(memory, scratch);
    find_added(stream, memory, group.states);
    run_chain<Sum>(stream, {.steps = memory.steps,
                            .num_steps = memory.num_steps,
                            .kv_heads = memory.kv_heads,
                            .dim = memory.dim,
                            .state = m,
                            .added = group.states,
                            .decays = group.decays,
                            .met = group.states});
    return group;
  }
  template <typename E> static Sum* take_matrices(const MemoryTensors<E, Sum>& memory, Arena& scratch) {
    return scratch.take(dtype_of<Sum>, {memory.num_steps, memory.matrix_elements()}).template as<Sum>();
  }
};

}  // namespace rondo::cuda
