// SPDX-License-Identifier: Apache-2.0
// The compressive memory of a layer over a span that is spread over a ring: what every run does to the state is found from
// nothing, exchanged, and folded in order of positions, so that all ranks work at once. The gradients go the same way back.
#pragma once

#include <vector>

#include "model/memory_chain.hpp"
#include "runtime/execution.hpp"

namespace rondo {

/// Queries [T, N, D] of this rank, keys and values [U, G, D] of chain.keys(), all before rotary turning.
struct MemoryTokens {
  const MemoryChain& chain;
  TensorView q, k, v;
};

/// The state before each of this rank's runs and, for delta rules, what each run of the ring takes away of a state: what
/// backward needs of forward.
struct MemoryBefore {
  TensorView m;       // [runs of this rank, G, D, D] fp64
  TensorView z;       // [runs of this rank, G, D] fp64
  TensorView decays;  // [runs of all ranks, G, D, D] accumulator type; empty for the linear rule
};

/// The state between spans, or its gradient: the same on all ranks. Empty views: nothing was before, or nothing is asked for.
struct MemoryState {
  TensorView m;  // [G, D, D] fp64
  TensorView z;  // [G, D] fp64
};

class CompressiveMemory {
 public:
  CompressiveMemory(Execution& execution, MemoryRule rule) : execution_(execution), rule_(rule) {}

  /// What lives from the start of an exchange to its end, in scratch of the caller's scope.
  struct Scan {
    std::vector<MemoryNormalisers> normalisers;  // of each of this rank's runs
    TensorView growths;                          // of z: [runs of all ranks, G, D] accumulator type
    TensorView summaries;                        // [runs of all ranks, G, D, D] accumulator type
    Pending growths_arrive, summaries_arrive, decays_arrive;
  };

  /// Starts the exchange of what every run writes.
  /// @param initial  before the span  @param after  behind it, overwritten
  Scan start(const MemoryTokens& tokens, const MemoryState& initial, const MemoryBefore& before,
             const MemoryState& after);
  /// Finds the normalisers, before.z and before.m, and reads for all queries. May overwrite `initial` with `after`.
  void finish(const MemoryTokens& tokens, Scan& scan, const MemoryState& initial, const MemoryBefore& before,
              const MemoryRead& read, const MemoryState& after);
  /// Reads once more, from a state that is known.
  void read_again(const MemoryTokens& tokens, const MemoryBefore& before, const MemoryRead& read);

  /// Starts the exchange of what every run's reads want of the state before it.
  Scan start_backward(const MemoryTokens& tokens, const MemoryBefore& before, const MemoryRead& read,
                      const TensorView& d_read);
  /// d_q [T, N, D], d_k, d_v [U, G, D] += ..., accumulator types; d_state, the gradient of the state behind the span, becomes that
  /// of the state before it.
  void finish_backward(const MemoryTokens& tokens, Scan& scan, const MemoryBefore& before, const MemoryRead& read,
                       const TensorView& d_read, const MemoryState& d_state, const TensorView& d_q,
                       const TensorView& d_k, const TensorView& d_v);

  bool has_decays() const { return rule_ != MemoryRule::Linear; }

 private:
  enum class Direction { ToLaterRuns, ToEarlierRuns, ToAll };
  Pending exchange(const MemoryChain& chain, const TensorView& all, Direction direction);
  void hand_on(const MemoryChain& chain, std::size_t run, Direction direction, const TensorView& state);
  void take_over(const MemoryChain& chain, std::size_t run, Direction direction, const TensorView& state);

  void fill_normalisers(const MemoryTokens& tokens, const TensorView& z_before, const TensorView& z_final,
                        const std::vector<MemoryNormalisers>& normalisers);
  std::vector<MemoryNormalisers> normalisers_from(const MemoryTokens& tokens, const TensorView& z_before);
  void run_normalisers(const MemoryTokens& tokens, std::size_t mine, const TensorView& z,
                       const MemoryNormalisers& normalisers);
  void start_z(const MemoryTokens& tokens, Scan& scan);
  void finish_z(const MemoryTokens& tokens, Scan& scan, const TensorView& z_before, const TensorView& z_final);
  void find_z_in_turn(const MemoryTokens& tokens, const Scan& scan, const TensorView& z_before);
  /// Every row of `rows` = state, or 0 where there is none.
  void begin_with(const TensorView& rows, const TensorView& state);
  /// What the owner of a run has found becomes the state of all ranks.
  void share(const MemoryChain& chain, std::size_t run, const TensorView& state);
  void go_back_through_z(const MemoryTokens& tokens, const Scan& scan, const std::vector<MemoryNormalisers>& gradients,
                         const TensorView& d_state, const TensorView& d_k);
  void forward(const MemoryTokens& tokens, std::size_t mine, const MemoryNormalisers& normalisers, const TensorView& m,
               const TensorView& decay, const MemoryRead& read);
  void backward(const MemoryTokens& tokens, std::size_t mine, const Scan& scan, const MemoryBefore& before,
                const MemoryRead& read, const TensorView& d_read, const TensorView& d_m,
                const MemoryNormalisers& d_normalisers, const TensorView& d_q, const TensorView& d_k,
                const TensorView& d_v);

  MemoryNormalisers take_normalisers(const MemoryTokens& tokens, std::size_t mine);
  TensorView take_zeros(DType dtype, const Shape& shape);

  Execution& execution_;
  MemoryRule rule_;
};

}  // namespace rondo
