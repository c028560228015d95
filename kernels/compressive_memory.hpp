// SPDX-License-Identifier: Apache-2.0
// The compressive memory of Infini-attention (Munkhdalai et al., arXiv 2404.07143): a matrix M and a normaliser z for each
// key head that whole segments are written into, and that queries read instead of attending to those segments.
//
// A rank works on a run of consecutive positions as a list of steps: the queries of a step read one state, then at most one
// segment is written. Keys and queries are those before rotary turning. The normaliser's chain does not depend on M, so it
// is an operation of its own: given z before every step, M is an affine chain, which ranks can scan.
#pragma once

#include <cstdint>
#include <vector>

#include "core/arena.hpp"
#include "core/tensor_view.hpp"

namespace rondo {

/// How a segment with features phi_t = sigma(k_t), sigma(x) = x > 0 ? x + 1 : exp(x) (ELU + 1, arXiv 2006.16236, in a form that
/// does not cancel), enters the memory: M += sum_t phi_t^T (v_t - w_t phi_t M), z += sum_t gamma_t phi_t, with
/// c_t = phi_t z, u = sum_t phi_t, e_t = phi_t u. A w_t of 1 / 0 is 0.
enum class MemoryRule {
  Linear,          ///< w = 0, gamma = 1 (equation 8)
  Delta,           ///< w = 1 / c, gamma = 1 (equation 9)
  DeltaCorrected,  ///< w = 1 / max(c, e), gamma = 1 - c w: what is known is corrected, the rest is added
};

/// Queries that read one state, then perhaps a segment that is written into it.
struct MemoryStep {
  static constexpr std::int64_t kNoWrite = -1;

  bool is_reset = false;  ///< the state is emptied first: a document starts
  std::int64_t first_query = 0;
  std::int64_t num_queries = 0;
  std::int64_t first_key = kNoWrite;  ///< of the segment that is written
};

/// The steps of one run, in order of positions.
struct MemorySchedule {
  std::int64_t segment_tokens = 0;
  std::vector<MemoryStep> steps;

  std::int64_t num_steps() const { return static_cast<std::int64_t>(steps.size()); }
  /// Does nothing of the state before the run reach the state behind it?
  bool is_reset() const;
};

/// What the chain of M needs of the other chain, for every step.
struct MemoryNormalisers {
  TensorView z;        // [steps, G, D] fp64: z before the step, behind its reset if it has one
  TensorView segment;  // [steps, G, D] fp64: u of the segment that is written, 0 where none is
};

/// The chain of the normaliser.
struct MemoryNormaliserForwardArgs {
  MemoryRule rule;
  TensorView k;  // [U, G, D]
  const MemorySchedule& schedule;
  TensorView z;                   // [G, D] fp64, before the run in, behind it out
  MemoryNormalisers normalisers;  // overwritten
  Arena& scratch;
};

/// d_k += ..., given the gradient of what was used of the normalisers.
struct MemoryNormaliserBackwardArgs {
  MemoryRule rule;
  TensorView k;  // [U, G, D]
  const MemorySchedule& schedule;
  MemoryNormalisers normalisers;
  MemoryNormalisers d_normalisers;
  TensorView d_z;  // [G, D] fp64, of z behind the run in, of z before it out
  TensorView d_k;  // [U, G, D] accumulator type, or empty: d_z alone
  Arena& scratch;
};

/// What queries got out of the memory; where it is empty the normaliser is 0 and so is the output.
struct MemoryRead {
  TensorView out;         // [T, N, D] accumulator type: sigma(q) M / n
  TensorView normaliser;  // [N, T] accumulator type: n = sigma(q) z
};

/// The chain of M. With `q` empty nothing is read. With `decay` the map of the whole run is found beside:
/// M behind = (1 - decay) M before + (M behind, if it was 0 before); delta rules only.
struct CompressiveMemoryForwardArgs {
  MemoryRule rule;
  TensorView q;  // [T, N, D] or empty
  TensorView k;  // [U, G, D]
  TensorView v;  // [U, G, D]
  const MemorySchedule& schedule;
  MemoryNormalisers normalisers;
  TensorView m;      // [G, D, D] fp64, before the run in, behind it out
  TensorView decay;  // [G, D, D] fp64 or empty, overwritten
  MemoryRead read;   // overwritten
  Arena& scratch;
};

/// Gradients of reads and writes; with `d_q` empty only d_m is found: the share of this run's reads in the gradient of M
/// before it.
struct CompressiveMemoryBackwardArgs {
  MemoryRule rule;
  TensorView q;  // [T, N, D]
  TensorView k;  // [U, G, D]
  TensorView v;  // [U, G, D]
  const MemorySchedule& schedule;
  MemoryNormalisers normalisers;
  TensorView m;                     // [G, D, D] fp64, before the run
  MemoryRead read;                  // of forward
  TensorView d_read;                // [T, N, D] accumulator type
  TensorView d_m;                   // [G, D, D] fp64, of M behind the run in, of M before it out
  MemoryNormalisers d_normalisers;  // overwritten
  TensorView d_q;                   // [T, N, D] accumulator type, += or empty
  TensorView d_k;                   // [U, G, D] accumulator type, +=
  TensorView d_v;                   // [U, G, D] accumulator type, +=
  Arena& scratch;
};

/// What a run does to a state, M or z: state = (1 - decay) state + added, or the transposed map for gradients.
struct MemoryFoldArgs {
  TensorView state;            // [G, D, D] or [G, D] fp64
  TensorView decay;            // [G, D, D] accumulator type, or empty: none
  TensorView added;            // as state, accumulator type
  bool is_reset = false;       ///< nothing of the state is left: state = added
  bool is_transposed = false;  ///< (1 - decay)^T
};

/// out = g read + (1 - g) local with g = sigmoid(gate[n]), equation 10; where nothing was read (normaliser 0) out = local.
struct MemoryGateForwardArgs {
  TensorView local;  // [T, N, D] accumulator type
  MemoryRead read;
  TensorView gate;  // [N] accumulator type
  TensorView out;   // [T, N, D] storage type
};

/// d_gate += ..., d_local and d_read overwritten.
struct MemoryGateBackwardArgs {
  TensorView local;  // [T, N, D] accumulator type
  MemoryRead read;
  TensorView gate;     // [N] accumulator type
  TensorView d_out;    // [T, N, D] storage type
  TensorView d_local;  // [T, N, D] storage type
  TensorView d_read;   // [T, N, D] accumulator type
  TensorView d_gate;   // [N] accumulator type
};

void check(const MemoryNormaliserForwardArgs& args);
void check(const MemoryNormaliserBackwardArgs& args);
void check(const CompressiveMemoryForwardArgs& args);
void check(const CompressiveMemoryBackwardArgs& args);
void check(const MemoryFoldArgs& args);
void check(const MemoryGateForwardArgs& args);
void check(const MemoryGateBackwardArgs& args);

/// On host memory, for the backends that work there: D^3 a head, once a run.
void memory_fold_on_host(const MemoryFoldArgs& args);

}  // namespace rondo
