// SPDX-License-Identifier: Apache-2.0
#include "kernels/compressive_memory.hpp"

#include "kernels/cpu/memory_tokens.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

/// Goes through the steps of a run for one head. M is kept in fp64 and read in fp32; what a segment adds to it is summed in
/// fp32. Heads are independent of each other.
class MemoryWalk {
 public:
  MemoryWalk(const Context& context, Worker& worker, const MemorySchedule& schedule, const MemoryPacking& arrays,
             std::int64_t head)
      : kernels(context.kernels.memory),
        packing(arrays),
        dims(arrays.dims()),
        g(head),
        worker_(worker),
        schedule_(schedule) {}

  const MemoryStep& step(std::int64_t s) const { return schedule_.steps[static_cast<std::size_t>(s)]; }

  /// body(first token, count) over the tiles of the segment that a step writes.
  template <typename Body> void for_each_written_tile(const MemoryStep& step, Body&& body) {
    if (step.first_key == MemoryStep::kNoWrite) return;
    for_each_tile(step.first_key, schedule_.segment_tokens, kernels.tile, [&](std::int64_t first, int count) {
      body(first, count);
      worker_.tick();
    });
  }
  /// body(query head, first token, count) over the tiles of a step's queries.
  template <typename Body> void for_each_query_tile(const MemoryStep& step, std::int64_t group_heads, Body&& body) {
    for (std::int64_t n = g * group_heads; n < (g + 1) * group_heads; ++n) {
      for_each_tile(step.first_query, step.num_queries, kernels.tile, [&](std::int64_t first, int count) {
        body(n, first, count);
        worker_.tick();
      });
    }
  }
  void pack_features(const TensorView& tensor, std::int64_t head, std::int64_t first, int count, float* phi) const {
    kernels.features(dims, storage_of(tensor.dtype), rows_of<const void>(tensor, head, first, count).data(), count,
                     phi);
  }

  const MemoryKernels& kernels;
  const MemoryPacking& packing;
  const AttentionDims dims;
  const std::int64_t g;

 private:
  Worker& worker_;
  const MemorySchedule& schedule_;
};

/// The state of one head, packed for the kernels, and what a segment adds to it.
struct PackedState {
  PackedState(const MemoryPacking& packing, HeadScratch::Cursor& arrays)
      : m(arrays.take(packing.matrix_floats())),
        added(arrays.take(packing.matrix_floats())),
        z(arrays.take(packing.dims().padded_dim)),
        segment(arrays.take(packing.dims().padded_dim)) {}
  static std::int64_t floats(const MemoryPacking& packing) {
    return 2 * (packing.matrix_floats() + packing.dims().padded_dim);
  }
  /// z and u of step s.
  void narrow(const MemoryPacking& packing, const MemoryNormalisers& normalisers, std::int64_t s,
              std::int64_t g) const {
    const std::int64_t row = (s * normalisers.z.shape[1] + g) * normalisers.z.shape[2];
    packing.narrow_row(normalisers.z.as<double>() + row, z);
    packing.narrow_row(normalisers.segment.as<double>() + row, segment);
  }
  const float* segment_for(MemoryRule rule) const { return rule == MemoryRule::DeltaCorrected ? segment : nullptr; }

  float *m, *added, *z, *segment;
};

/// The decay of the run so far, packed and in fp64. Null: not requested.
struct Decay {
  const PackedState* packed = nullptr;
  double* matrix = nullptr;
};

/// Writes the segment of a step into m (fp64 [D, D]), of which state.m is the packed copy, and into the decay.
/// @pre state.narrow() was called for the step
void write(MemoryWalk& walk, const TensorView& k, const TensorView& v, MemoryRule rule, const MemoryStep& step,
           const PackedState& state, float* phi, float* work, double* m, const Decay& decay = {}) {
  const bool has_decay = decay.matrix != nullptr;
  std::fill_n(state.added, walk.packing.matrix_floats(), 0.0F);
  if (has_decay) {
    std::fill_n(decay.packed->added, walk.packing.matrix_floats(), 0.0F);
    walk.packing.narrow(decay.matrix, decay.packed->m);
  }
  walk.for_each_written_tile(step, [&](std::int64_t first, int count) {
    walk.pack_features(k, walk.g, first, count, phi);
    walk.kernels.write({.dims = walk.dims,
                        .count = count,
                        .is_delta = rule != MemoryRule::Linear,
                        .type = storage_of(v.dtype),
                        .phi = phi,
                        .v = rows_of<const void>(v, walk.g, first, count).data(),
                        .m = state.m,
                        .z = state.z,
                        .segment = state.segment_for(rule),
                        .decay = has_decay ? decay.packed->m : nullptr,
                        .added = state.added,
                        .decay_added = has_decay ? decay.packed->added : nullptr,
                        .work = work});
  });
  walk.packing.add(state.added, m);
  if (has_decay) walk.packing.add(decay.packed->added, decay.matrix);
}

constexpr std::int64_t kWorkTiles = 4;

// --- forward ---

void read(MemoryWalk& walk, const CompressiveMemoryForwardArgs& args, const MemoryStep& step, const PackedState& state,
          float* psi, float* work) {
  const std::int64_t T = args.q.shape[0], N = args.q.shape[1], G = args.k.shape[1];
  walk.for_each_query_tile(step, N / G, [&](std::int64_t n, std::int64_t first, int count) {
    walk.pack_features(args.q, n, first, count, psi);
    walk.kernels.read({.dims = walk.dims,
                       .count = count,
                       .psi = psi,
                       .m = state.m,
                       .z = state.z,
                       .out = rows_of<float>(args.read.out, n, first, count).data(),
                       .normaliser = args.read.normaliser.as<float>() + n * T + first,
                       .work = work});
  });
}

void forward_head(MemoryWalk& walk, const CompressiveMemoryForwardArgs& args, HeadScratch::Cursor arrays) {
  const std::int64_t D = args.k.shape[2], g = walk.g;
  const PackedState state(walk.packing, arrays), decay_state(walk.packing, arrays);
  float* phi = arrays.take(walk.packing.tile_floats());
  float* work = arrays.take(kWorkTiles * walk.packing.tile_floats());
  double* m = args.m.as<double>() + g * D * D;
  double* decay = args.decay ? args.decay.as<double>() + g * D * D : nullptr;
  if (decay != nullptr) std::fill_n(decay, D * D, 0.0);
  for (std::int64_t s = 0; s < args.schedule.num_steps(); ++s) {
    const MemoryStep& step = walk.step(s);
    if (step.is_reset) {
      std::fill_n(m, D * D, 0.0);
      // nothing of the state before is left: decay = 1
      for (std::int64_t i = 0; decay != nullptr && i < D * D; ++i) decay[i] = i % (D + 1) == 0 ? 1 : 0;
    }
    walk.packing.narrow(m, state.m);
    state.narrow(walk.packing, args.normalisers, s, g);
    if (args.q) read(walk, args, step, state, phi, work);
    write(walk, args.k, args.v, args.rule, step, state, phi, work, m, {&decay_state, decay});
  }
}

// --- backward ---

/// M before every step, packed: [steps, D + slack, P].
void find_states(MemoryWalk& walk, const CompressiveMemoryBackwardArgs& args, const PackedState& state, float* phi,
                 float* work, double* m, float* states) {
  const std::int64_t D = args.k.shape[2];
  std::copy_n(args.m.as<double>() + walk.g * D * D, D * D, m);
  for (std::int64_t s = 0; s < args.schedule.num_steps(); ++s) {
    const MemoryStep& step = walk.step(s);
    if (step.is_reset) std::fill_n(m, D * D, 0.0);
    PackedState before = state;
    before.m = states + s * walk.packing.matrix_floats();
    walk.packing.narrow(m, before.m);
    state.narrow(walk.packing, args.normalisers, s, walk.g);
    write(walk, args.k, args.v, args.rule, step, before, phi, work, m);
  }
}

/// The arrays of one head for backward.
struct BackwardArrays {
  BackwardArrays(const MemoryPacking& packing, HeadScratch::Cursor& arrays)
      : state(packing, arrays),
        m_transposed(arrays.take(packing.matrix_floats())),
        behind(arrays.take(packing.matrix_floats())),
        behind_transposed(arrays.take(packing.matrix_floats())),
        d_z(arrays.take(packing.dims().padded_dim)),
        d_segment(arrays.take(packing.dims().padded_dim)),
        phi(arrays.take(packing.tile_floats())),
        work(arrays.take(kWorkTiles * packing.tile_floats())) {}
  static std::int64_t floats(const MemoryPacking& packing) {
    return PackedState::floats(packing) + 3 * packing.matrix_floats() + 2 * packing.dims().padded_dim +
           (1 + kWorkTiles) * packing.tile_floats();
  }
  PackedState state;
  float *m_transposed, *behind, *behind_transposed, *d_z, *d_segment, *phi, *work;
};

/// The gradient of a vector of a step, summed over tiles in fp64; `tile_sum` is the sum of one tile.
class VectorGradient {
 public:
  VectorGradient(const MemoryPacking& packing, float* tile_sum, double* sum)
      : packing_(packing), tile_sum_(tile_sum), sum_(sum) {
    if (sum_ != nullptr) std::fill_n(sum_, packing.dims().head_dim, 0.0);
  }
  float* begin_tile() {
    std::fill_n(tile_sum_, packing_.dims().padded_dim, 0.0F);
    return tile_sum_;
  }
  void end_tile() {
    if (sum_ != nullptr) packing_.add_row(tile_sum_, sum_);
  }

 private:
  const MemoryPacking& packing_;
  float* tile_sum_;
  double* sum_;  // null: not requested
};

void write_backward(MemoryWalk& walk, const CompressiveMemoryBackwardArgs& args, const MemoryStep& step, const float* m,
                    const BackwardArrays& a, VectorGradient& d_z, VectorGradient& d_segment) {
  const bool has_sinks = static_cast<bool>(args.d_q);
  if (args.rule == MemoryRule::Linear && !has_sinks) return;
  walk.for_each_written_tile(step, [&](std::int64_t first, int count) {
    walk.pack_features(args.k, walk.g, first, count, a.phi);
    const TileRows<float> d_k = has_sinks ? rows_of<float>(args.d_k, walk.g, first, count) : TileRows<float>{};
    const TileRows<float> d_v = has_sinks ? rows_of<float>(args.d_v, walk.g, first, count) : TileRows<float>{};
    walk.kernels.write_backward({.dims = walk.dims,
                                 .count = count,
                                 .is_delta = args.rule != MemoryRule::Linear,
                                 .type = storage_of(args.v.dtype),
                                 .phi = a.phi,
                                 .v = rows_of<const void>(args.v, walk.g, first, count).data(),
                                 .m = m,
                                 .m_transposed = a.m_transposed,
                                 .z = a.state.z,
                                 .segment = a.state.segment_for(args.rule),
                                 .behind = a.behind,
                                 .behind_transposed = a.behind_transposed,
                                 .d_k = has_sinks ? d_k.data() : nullptr,
                                 .d_v = has_sinks ? d_v.data() : nullptr,
                                 .d_m_added = a.state.added,
                                 .d_z_added = d_z.begin_tile(),
                                 .work = a.work,
                                 .d_segment_added = d_segment.begin_tile()});
    d_z.end_tile();
    d_segment.end_tile();
  });
}

void read_backward(MemoryWalk& walk, const CompressiveMemoryBackwardArgs& args, const MemoryStep& step,
                   const BackwardArrays& a, VectorGradient& d_z) {
  const std::int64_t T = args.q.shape[0], N = args.q.shape[1], G = args.k.shape[1];
  const bool has_sinks = static_cast<bool>(args.d_q);
  walk.for_each_query_tile(step, N / G, [&](std::int64_t n, std::int64_t first, int count) {
    walk.pack_features(args.q, n, first, count, a.phi);
    const TileRows<float> d_q = has_sinks ? rows_of<float>(args.d_q, n, first, count) : TileRows<float>{};
    walk.kernels.read_backward({.dims = walk.dims,
                                .count = count,
                                .phi = a.phi,
                                .m_transposed = a.m_transposed,
                                .z = a.state.z,
                                .read = rows_of<const float>(args.read.out, n, first, count).data(),
                                .normaliser = args.read.normaliser.as<float>() + n * T + first,
                                .d_read = rows_of<const float>(args.d_read, n, first, count).data(),
                                .d_q = has_sinks ? d_q.data() : nullptr,
                                .d_m_added = a.state.added,
                                .d_z_added = d_z.begin_tile(),
                                .work = a.work});
    d_z.end_tile();
  });
}

void backward_head(MemoryWalk& walk, const CompressiveMemoryBackwardArgs& args, HeadScratch::Cursor arrays, double* m,
                   float* states) {
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2], g = walk.g, floats = walk.packing.matrix_floats();
  const BackwardArrays a(walk.packing, arrays);
  find_states(walk, args, a.state, a.phi, a.work, m, states);
  double* d_m = args.d_m.as<double>() + g * D * D;
  for (std::int64_t s = args.schedule.num_steps() - 1; s >= 0; --s) {
    const MemoryStep& step = walk.step(s);
    const float* before = states + s * floats;
    a.state.narrow(walk.packing, args.normalisers, s, g);
    walk.packing.transpose(before, a.m_transposed);
    walk.packing.narrow(d_m, a.behind);
    walk.packing.transpose(a.behind, a.behind_transposed);
    std::fill_n(a.state.added, floats, 0.0F);
    const std::int64_t row = (s * G + g) * D;
    VectorGradient d_z(walk.packing, a.d_z, args.d_q ? args.d_normalisers.z.as<double>() + row : nullptr);
    VectorGradient d_segment(walk.packing, a.d_segment,
                             args.d_q ? args.d_normalisers.segment.as<double>() + row : nullptr);
    write_backward(walk, args, step, before, a, d_z, d_segment);
    read_backward(walk, args, step, a, d_z);
    walk.packing.add(a.state.added, d_m);
    if (step.is_reset) std::fill_n(d_m, D * D, 0.0);
  }
}

HeadScratch take_memory_arrays(const MemoryPacking& packing, const CompressiveMemoryForwardArgs& args) {
  return {args.scratch, args.k.shape[1], 2 * PackedState::floats(packing) + (1 + kWorkTiles) * packing.tile_floats()};
}

struct MemoryBackwardScratch {
  MemoryBackwardScratch(const MemoryPacking& packing, const CompressiveMemoryBackwardArgs& args)
      : states_of_head(args.schedule.num_steps() * packing.matrix_floats()),
        arrays(args.scratch, args.k.shape[1], BackwardArrays::floats(packing)),
        states(args.scratch, args.k.shape[1], states_of_head),
        m(args.scratch.take(DType::Fp64, args.m.shape).as<double>()) {}

  std::int64_t states_of_head;
  HeadScratch arrays, states;
  double* m;  // [G, D, D]
};

}  // namespace

void take_scratch(const Context& context, const CompressiveMemoryForwardArgs& args) {
  Arena::Scope scope(args.scratch);
  take_memory_arrays(MemoryPacking(context.kernels.memory, args.k.shape[2]), args);
}

void take_scratch(const Context& context, const CompressiveMemoryBackwardArgs& args) {
  Arena::Scope scope(args.scratch);
  MemoryBackwardScratch(MemoryPacking(context.kernels.memory, args.k.shape[2]), args);
}

void compressive_memory_forward(const Context& context, Stream& stream, const CompressiveMemoryForwardArgs& args) {
  check(args);
  const MemoryPacking packing(context.kernels.memory, args.k.shape[2]);
  const std::int64_t G = args.k.shape[1];
  Arena::Scope scope(args.scratch);
  const HeadScratch scratch = take_memory_arrays(packing, args);
  parallel_items(stream, context.threads, G, [&](Worker& worker, std::int64_t g) {
    MemoryWalk walk(context, worker, args.schedule, packing, g);
    forward_head(walk, args, scratch.of_head(g));
  });
}

void compressive_memory_backward(const Context& context, Stream& stream, const CompressiveMemoryBackwardArgs& args) {
  check(args);
  const MemoryPacking packing(context.kernels.memory, args.k.shape[2]);
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2];
  Arena::Scope scope(args.scratch);
  const MemoryBackwardScratch scratch(packing, args);
  parallel_items(stream, context.threads, G, [&](Worker& worker, std::int64_t g) {
    MemoryWalk walk(context, worker, args.schedule, packing, g);
    backward_head(walk, args, scratch.arrays.of_head(g), scratch.m + g * D * D,
                  scratch.states.of_head(g).take(scratch.states_of_head));
  });
}

}  // namespace rondo::cpu
