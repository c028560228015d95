// SPDX-License-Identifier: Apache-2.0
// The chain of the normaliser. Sums over segments are found for all steps at once. What the corrected rule adds to z depends on
// z itself: there one block of threads per key head walks the steps in turn, which is all that limits it: about the time to read the
// keys of a head by one multiprocessor.
#include "kernels/cuda/memory_vectors.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

template <typename E> struct Segments {
  const E* k;  // [U, G, D]
  const DeviceStep* steps;
  std::int64_t num_steps;
  int segment_tokens, kv_heads, dim;

  __device__ const E* key(const DeviceStep& step, std::int64_t token, int group) const {
    return k + ((step.first_key + token) * kv_heads + group) * dim;
  }
  __device__ std::int64_t vector_row(std::int64_t step, int group) const { return (step * kv_heads + group) * dim; }
};

template <typename T>
Segments<Element<T>> segments_of(Stream& stream, const TensorView& k, const MemorySchedule& schedule, Arena& scratch) {
  return {.k = elements<T>(k),
          .steps = device_steps(stream, schedule, scratch),
          .num_steps = schedule.num_steps(),
          .segment_tokens = static_cast<int>(written_tokens(schedule)),
          .kv_heads = static_cast<int>(k.shape[1]),
          .dim = static_cast<int>(k.shape[2])};
}

/// u of every step, a block of threads per step and head.
template <int kColumns, typename E, typename Sum>
__global__ void segment_sums_kernel(const Segments<E> segments, double* sums) {
  using Vector = LaneVector<kColumns, Sum>;
  __shared__ WarpVectors<kColumns, kRowWarps, Sum> shared;
  const std::int64_t s = std::int64_t{blockIdx.x} / segments.kv_heads;
  const int group = static_cast<int>(blockIdx.x) % segments.kv_heads, dim = segments.dim;
  const DeviceStep step = segments.steps[s];
  Vector u;
  for (int token = static_cast<int>(threadIdx.x) / 32; step.writes() && token < segments.segment_tokens;
       token += kRowWarps) {
    u.add(1, Vector::features(segments.key(step, token, group), dim));
  }
  fold_warps(shared, u, dim,
             [&](int d, Sum sum) { sums[segments.vector_row(s, group) + d] = static_cast<double>(sum); });
}

// --- chains that only add ---

constexpr int kChainThreads = 64;
constexpr int kAhead = 8;  // steps whose terms are on their way while the ones before are added

/// An element [G, D] a thread: met[s] is what step s meets of `state`, which then gets added[s].
struct AddingChain {
  const DeviceStep* steps;
  std::int64_t num_steps, elements;
  double* state;        // [G, D]
  const double* added;  // [steps, G, D]
  double* met;          // [steps, G, D] or null
  bool is_backward;
};

__global__ void adding_chain_kernel(const AddingChain chain) {
  const std::int64_t element = std::int64_t{blockIdx.x} * kChainThreads + static_cast<int>(threadIdx.x);
  if (element >= chain.elements) return;
  double state = chain.state[element];
  for (std::int64_t first = 0; first < chain.num_steps; first += kAhead) {
    double added[kAhead];
    bool is_reset[kAhead];
    const auto step_of = [&](int i) { return chain.is_backward ? chain.num_steps - 1 - (first + i) : first + i; };
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const bool exists = first + i < chain.num_steps;
      added[i] = exists ? chain.added[step_of(i) * chain.elements + element] : 0;
      is_reset[i] = exists && chain.steps[step_of(i)].is_reset;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i >= chain.num_steps) break;
      if (!chain.is_backward && is_reset[i]) state = 0;
      if (chain.met != nullptr) chain.met[step_of(i) * chain.elements + element] = state;
      state += added[i];
      if (chain.is_backward && is_reset[i]) state = 0;
    }
  }
  chain.state[element] = state;
}

template <typename E>
void run_adding_chain(Stream& stream, const Segments<E>& segments, const TensorView& state, const TensorView& added,
                      double* met, bool is_backward) {
  const std::int64_t elements = std::int64_t{segments.kv_heads} * segments.dim;
  launch(adding_chain_kernel, stream,
         {.blocks = (elements + kChainThreads - 1) / kChainThreads, .threads = kChainThreads},
         AddingChain{.steps = segments.steps,
                     .num_steps = segments.num_steps,
                     .elements = elements,
                     .state = state.as<double>(),
                     .added = added.as<double>(),
                     .met = met,
                     .is_backward = is_backward});
}

// --- the corrected rule ---

/// As many as have room for their vectors in static shared memory, in fp64 too.
template <int kColumns> constexpr int kCorrectedWarps = kColumns > 4 ? 8 : 16;
template <int kColumns> constexpr int kCorrectedThreads = 32 * kCorrectedWarps<kColumns>;

/// z += sum of gamma phi, a block of threads per key head.
template <int kColumns, typename E, typename Sum>
__global__ void __launch_bounds__(kCorrectedThreads<kColumns>)
    corrected_chain_kernel(const Segments<E> segments, double* z, double* z_of_steps, const double* sums) {
  using Vector = LaneVector<kColumns, Sum>;
  constexpr int kWarps = kCorrectedWarps<kColumns>, kThreads = kCorrectedThreads<kColumns>;
  __shared__ WarpVectors<kColumns, kWarps, Sum> shared;
  __shared__ double state[32 * kColumns];
  const int group = static_cast<int>(blockIdx.x), dim = segments.dim, thread = static_cast<int>(threadIdx.x);
  for (int d = thread; d < dim; d += kThreads) state[d] = z[group * dim + d];
  for (std::int64_t s = 0; s < segments.num_steps; ++s) {
    const DeviceStep step = segments.steps[s];
    const std::int64_t row = segments.vector_row(s, group);
    for (int d = thread; d < dim; d += kThreads) {  // each thread has its own dimensions of the state
      if (step.is_reset) state[d] = 0;
      z_of_steps[row + d] = state[d];
    }
    __syncthreads();
    if (!step.writes()) continue;
    const Vector z_narrow = Vector::of(state, dim), u = Vector::of(sums + row, dim);
    Vector added;
    for (int token = thread / 32; token < segments.segment_tokens; token += kWarps) {
      const Vector phi = Vector::features(segments.key(step, token, group), dim);
      added.add(RetrievalWeight<Sum>(phi.dot(z_narrow), phi.dot(u)).new_part(), phi);
    }
    fold_warps(shared, added, dim, [&](int d, Sum sum) { state[d] += static_cast<double>(sum); });
  }
  for (int d = thread; d < dim; d += kThreads) z[group * dim + d] = state[d];
}

/// gamma, which h goes through, and the gradients of c and e.
template <typename Sum> struct CorrectionGradients {
  Sum gamma, overlap, within;

  __device__ CorrectionGradients(const RetrievalWeight<Sum>& w, Sum d_gamma)
      : gamma(w.new_part()), overlap(0), within(0) {
    if (w.is_overlap) return;
    overlap = -d_gamma * w.value;
    within = d_gamma * w.overlap * w.value * w.value;
  }
};

template <typename Sum> struct CorrectedBackward {
  const double* z;          // [steps, G, D]
  const double* segment;    // [steps, G, D]
  const double* d_z_given;  // [steps, G, D]
  const double* d_u_given;  // [steps, G, D]
  double* behind;           // [steps, G, D]: h, the gradient of z behind each step
  double* d_segment;        // [steps, G, D]: with what comes through gamma
};

/// The gradient of z through the steps from last to first, a block of threads per key head.
template <int kColumns, typename E, typename Sum>
__global__ void __launch_bounds__(kCorrectedThreads<kColumns>)
    corrected_chain_backward_kernel(const Segments<E> segments, double* d_z, const CorrectedBackward<Sum> arrays) {
  using Vector = LaneVector<kColumns, Sum>;
  constexpr int kWarps = kCorrectedWarps<kColumns>, kThreads = kCorrectedThreads<kColumns>;
  __shared__ WarpVectors<kColumns, kWarps, Sum> shared;
  __shared__ double h[32 * kColumns];
  const int group = static_cast<int>(blockIdx.x), dim = segments.dim, thread = static_cast<int>(threadIdx.x);
  for (int d = thread; d < dim; d += kThreads) h[d] = d_z[group * dim + d];
  for (std::int64_t s = segments.num_steps - 1; s >= 0; --s) {
    const DeviceStep step = segments.steps[s];
    const std::int64_t row = segments.vector_row(s, group);
    for (int d = thread; d < dim; d += kThreads) {
      arrays.behind[row + d] = h[d];
      arrays.d_segment[row + d] = arrays.d_u_given[row + d];
    }
    __syncthreads();
    if (step.writes()) {
      const Vector z = Vector::of(arrays.z + row, dim), u = Vector::of(arrays.segment + row, dim);
      const Vector h_narrow = Vector::of(h, dim);
      Vector d_before, d_within;
      for (int token = thread / 32; token < segments.segment_tokens; token += kWarps) {
        const Vector phi = Vector::features(segments.key(step, token, group), dim);
        const CorrectionGradients<Sum> d({phi.dot(z), phi.dot(u)}, phi.dot(h_narrow));
        d_before.add(d.overlap, phi);
        d_within.add(d.within, phi);
      }
      fold_warps(shared, d_before, dim, [&](int d, Sum sum) { h[d] += static_cast<double>(sum); });
      fold_warps(shared, d_within, dim, [&](int d, Sum sum) { arrays.d_segment[row + d] += static_cast<double>(sum); });
    }
    for (int d = thread; d < dim; d += kThreads) {
      h[d] = step.is_reset ? 0 : h[d] + arrays.d_z_given[row + d];
    }
  }
  for (int d = thread; d < dim; d += kThreads) d_z[group * dim + d] = h[d];
}

/// d_k += (d_u + gamma h + d_c z + d_e u) sigma'(k), a row a warp.
template <bool kIsCorrected, int kColumns, typename E, typename Sum>
__global__ void key_gradients_kernel(const Segments<E> segments, const CorrectedBackward<Sum> arrays, Sum* d_k) {
  using Vector = LaneVector<kColumns, Sum>;
  const std::int64_t index = row_of_warp();
  const int group = static_cast<int>(index % segments.kv_heads), dim = segments.dim;
  const std::int64_t written = index / segments.kv_heads, s = written / segments.segment_tokens;
  if (s >= segments.num_steps) return;
  const DeviceStep step = segments.steps[s];
  if (!step.writes()) return;
  const E* k = segments.key(step, written % segments.segment_tokens, group);
  Sum* to = d_k + (k - segments.k);
  const Vector phi = Vector::features(k, dim);
  const std::int64_t row = segments.vector_row(s, group);
  Vector d_phi = Vector::of(arrays.d_segment + row, dim);
  const Vector h = Vector::of(arrays.behind + row, dim);
  if constexpr (kIsCorrected) {
    const Vector z = Vector::of(arrays.z + row, dim), u = Vector::of(arrays.segment + row, dim);
    const CorrectionGradients<Sum> d({phi.dot(z), phi.dot(u)}, phi.dot(h));
    d_phi.add(d.gamma, h);
    d_phi.add(d.overlap, z);
    d_phi.add(d.within, u);
  } else {
    d_phi.add(1, h);
  }
  Vector::for_each(dim,
                   [&](int j, int d) { to[d] += d_phi.x[j] * feature_slope(static_cast<Sum>(load(k[d])), phi.x[j]); });
}

template <typename T> void forward(Stream& stream, const MemoryNormaliserForwardArgs& args) {
  using E = Element<T>;
  using Sum = Accumulator<T>;
  Arena::Scope scope(args.scratch);
  const Segments<E> segments = segments_of<T>(stream, args.k, args.schedule, args.scratch);
  auto* z_of_steps = args.normalisers.z.as<double>();
  auto* sums = args.normalisers.segment.as<double>();
  with_lane_columns(segments.dim, [&](auto columns) {
    launch(segment_sums_kernel<columns, E, Sum>, stream,
           {.blocks = segments.num_steps * segments.kv_heads, .threads = 32 * kRowWarps}, segments, sums);
    if (args.rule == MemoryRule::DeltaCorrected) {
      launch(corrected_chain_kernel<columns, E, Sum>, stream,
             {.blocks = segments.kv_heads, .threads = kCorrectedThreads<columns>}, segments, args.z.as<double>(),
             z_of_steps, sums);
    }
  });
  if (args.rule != MemoryRule::DeltaCorrected) {
    run_adding_chain(stream, segments, args.z, args.normalisers.segment, z_of_steps, false);
  }
}

template <typename T> void backward(Stream& stream, const MemoryNormaliserBackwardArgs& args) {
  using E = Element<T>;
  using Sum = Accumulator<T>;
  Arena::Scope scope(args.scratch);
  const Segments<E> segments = segments_of<T>(stream, args.k, args.schedule, args.scratch);
  const bool is_corrected = args.rule == MemoryRule::DeltaCorrected;
  const Shape vectors = args.normalisers.z.shape;
  CorrectedBackward<Sum> arrays{.z = args.normalisers.z.as<double>(),
                                .segment = args.normalisers.segment.as<double>(),
                                .d_z_given = args.d_normalisers.z.as<double>(),
                                .d_u_given = args.d_normalisers.segment.as<double>(),
                                .behind = nullptr,
                                .d_segment = args.d_normalisers.segment.as<double>()};
  if (is_corrected || args.d_k) arrays.behind = args.scratch.take(DType::Fp64, vectors).as<double>();
  if (is_corrected) {
    arrays.d_segment = args.scratch.take(DType::Fp64, vectors).as<double>();
  } else {
    run_adding_chain(stream, segments, args.d_z, args.d_normalisers.z, arrays.behind, true);
  }
  with_lane_columns(segments.dim, [&](auto columns) {
    if (is_corrected) {
      launch(corrected_chain_backward_kernel<columns, E, Sum>, stream,
             {.blocks = segments.kv_heads, .threads = kCorrectedThreads<columns>}, segments, args.d_z.as<double>(),
             arrays);
    }
    if (!args.d_k) return;
    const LaunchShape rows = shape_of_warps(segments.num_steps * segments.segment_tokens * segments.kv_heads);
    auto* d_k = args.d_k.as<Sum>();
    if (is_corrected) {
      launch(key_gradients_kernel<true, columns, E, Sum>, stream, rows, segments, arrays, d_k);
    } else {
      launch(key_gradients_kernel<false, columns, E, Sum>, stream, rows, segments, arrays, d_k);
    }
  });
}

}  // namespace

void memory_normaliser_forward(Stream& stream, const MemoryNormaliserForwardArgs& args) {
  rondo::check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { forward<T>(stream, args); });
}

void memory_normaliser_backward(Stream& stream, const MemoryNormaliserBackwardArgs& args) {
  rondo::check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { backward<T>(stream, args); });
}

}  // namespace rondo::cuda
