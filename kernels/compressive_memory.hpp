// SPDX-License-Identifier: Apache-2.0
// The compressive memory of Infini-attention (Munkhdalai et al., arXiv 2404.07143): a matrix M and a normaliser z per
// key head. Whole segments are written into them, and queries read them instead of attending to those segments.
//
// A rank works on a run of consecutive positions as a list of steps: the queries of a step read one state, then at most one
// segment is written. Keys and queries are those before RoPE. The recurrence of z does not depend on M, so it is a separate
// operation: given z before every step, the recurrence of M is affine, which allows a prefix scan over ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "core/arena.hpp"
#include "core/tensor_view.hpp"

namespace rondo {

/// How a segment with features phi_t = sigma(k_t), sigma(x) = x > 0 ? x + 1 : exp(x) (ELU + 1, arXiv 2006.16236, in a form
/// without cancellation), enters the memory: M += sum_t phi_t^T (v_t - w_t phi_t M), z += sum_t gamma_t phi_t, with
/// c_t = phi_t z, u = sum_t phi_t, e_t = phi_t u. Where w_t would be 1 / 0 it is 0.
enum class MemoryRule {
  Linear,          ///< w = 0, gamma = 1 (equation 8)
  Delta,           ///< w = 1 / c, gamma = 1 (equation 9)
  DeltaCorrected,  ///< w = 1 / max(c, e), gamma = 1 - c w: corrects what is stored, adds what is new
};

/// Queries that read one state, then optionally a segment that is written into it.
struct MemoryStep {
  static constexpr std::int64_t kNoWrite = -1;

  bool is_reset = false;  ///< the state is set to 0 first: a document starts
  std::int64_t first_query = 0;
  std::int64_t num_queries = 0;
  std::int64_t first_key = kNoWrite;  ///< first key of the segment that is written
};

/// The steps of one run, in order of positions.
struct MemorySchedule {
  std::int64_t segment_tokens = 0;
  std::vector<MemoryStep> steps;

  std::int64_t num_steps() const { return static_cast<std::int64_t>(steps.size()); }
  /// True if a document starts inside the run: the state after the run then does not depend on the state before it.
  bool is_reset() const;
};

/// What the recurrence of M needs of the recurrence of z, for every step.
struct MemoryNormalisers {
  TensorView z;        // [steps, G, D] fp64: z before the step, after its reset if it has one
  TensorView segment;  // [steps, G, D] fp64: u of the segment that is written, or 0
};

/// The recurrence of z.
struct MemoryNormaliserForwardArgs {
  MemoryRule rule;
  TensorView k;  // [U, G, D]
  const MemorySchedule& schedule;
  TensorView z;                   // [G, D] fp64, in: before the run, out: after it
  MemoryNormalisers normalisers;  // overwritten
  Arena& scratch;
};

/// d_k += ..., given the gradients of the normalisers.
struct MemoryNormaliserBackwardArgs {
  MemoryRule rule;
  TensorView k;  // [U, G, D]
  const MemorySchedule& schedule;
  MemoryNormalisers normalisers;
  MemoryNormalisers d_normalisers;
  TensorView d_z;  // [G, D] fp64, in: of z after the run, out: of z before it
  TensorView d_k;  // [U, G, D] accumulator type, or empty: only d_z is computed
  Arena& scratch;
};

/// What queries read from the memory. Where the memory is empty, normaliser and output are 0.
struct MemoryRead {
  TensorView out;         // [T, N, D] accumulator type: sigma(q) M / n
  TensorView normaliser;  // [N, T] accumulator type: n = sigma(q) z
};

/// The recurrence of M. With `q` empty nothing is read. `decay`, for delta rules only, gives the affine map of the whole run:
/// M after = (1 - decay) M before + (M after, had M been 0 before).
struct CompressiveMemoryForwardArgs {
  MemoryRule rule;
  TensorView q;  // [T, N, D] or empty
  TensorView k;  // [U, G, D]
  TensorView v;  // [U, G, D]
  const MemorySchedule& schedule;
  MemoryNormalisers normalisers;
  TensorView m;      // [G, D, D] fp64, in: before the run, out: after it
  TensorView decay;  // [G, D, D] fp64 or empty, overwritten
  MemoryRead read;   // overwritten
  Arena& scratch;
};

/// Gradients of reads and writes. With `d_q` empty only d_m is computed; from d_m = 0 this is what the run's reads contribute
/// to the gradient of M before the run.
struct CompressiveMemoryBackwardArgs {
  MemoryRule rule;
  TensorView q;  // [T, N, D]
  TensorView k;  // [U, G, D]
  TensorView v;  // [U, G, D]
  const MemorySchedule& schedule;
  MemoryNormalisers normalisers;
  TensorView m;                     // [G, D, D] fp64, before the run
  MemoryRead read;                  // from forward
  TensorView d_read;                // [T, N, D] accumulator type
  TensorView d_m;                   // [G, D, D] fp64, in: of M after the run, out: of M before it
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
  bool is_reset = false;       ///< the old state is discarded: state = added
  bool is_transposed = false;  ///< (1 - decay)^T
};

/// out = g read + (1 - g) local with g = sigmoid(gate[n]), equation 10; where the memory was empty (normaliser 0), out = local.
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

/// For the backends on host memory. Costs D^3 multiply-adds per head, once per run.
void memory_fold_on_host(const MemoryFoldArgs& args);

}  // namespace rondo
