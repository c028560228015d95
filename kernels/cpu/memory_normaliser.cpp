// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/memory_tokens.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

/// Goes through the segments that a run writes, for one head.
class SegmentWalk {
 public:
  SegmentWalk(const Context& context, Worker& worker, const TensorView& k, const MemorySchedule& schedule,
              const MemoryPacking& packing, std::int64_t head, float* phi)
      : kernels(context.kernels.memory),
        dims(packing.dims()),
        g(head),
        worker_(worker),
        k_(k),
        schedule_(schedule),
        phi_(phi) {}

  /// body(token, features) for every token of the segment that a step writes.
  template <typename Body> void for_each_row(const MemoryStep& step, Body&& body) {
    if (step.first_key == MemoryStep::kNoWrite) return;
    for_each_tile(step.first_key, schedule_.segment_tokens, kernels.tile, [&](std::int64_t first, int count) {
      const TileRows<const void> rows = rows_of<const void>(k_, g, first, count);
      kernels.features(dims, storage_of(k_.dtype), rows.data(), count, phi_);
      for (int r = 0; r < count; ++r) body(first + r, phi_ + std::int64_t{r} * dims.padded_dim);
      worker_.tick();
    });
  }

  const MemoryKernels& kernels;
  const AttentionDims dims;
  const std::int64_t g;

 private:
  Worker& worker_;
  const TensorView& k_;
  const MemorySchedule& schedule_;
  float* phi_;
};

/// gamma of the corrected rule, which multiplies h, and the gradients of c and e.
struct CorrectionGradients {
  float gamma = 1, overlap = 0, within = 0;
};

CorrectionGradients correction_gradients(const SegmentWalk& walk, const float* phi, const float* z,
                                         const float* segment, const float* h) {
  const MemoryWeight weight = walk.kernels.weight(walk.dims, phi, z, segment);
  if (weight.is_overlap) return {.gamma = weight.new_part()};
  const float d_gamma = walk.kernels.dot(walk.dims, h, phi);
  return {weight.new_part(), -d_gamma * weight.value, d_gamma * weight.overlap * weight.value * weight.value};
}

// Packed arrays of one head: the features of a tile, and `vectors` vectors.
HeadScratch take_vectors(const MemoryPacking& packing, const TensorView& k, std::int64_t vectors, Arena& scratch) {
  return {scratch, k.shape[1], packing.tile_floats() + vectors * packing.dims().padded_dim};
}
constexpr std::int64_t kForwardVectors = 3, kBackwardVectors = 6;

}  // namespace

void take_scratch(const Context& context, const MemoryNormaliserForwardArgs& args) {
  Arena::Scope scope(args.scratch);
  take_vectors(MemoryPacking(context.kernels.memory, args.k.shape[2]), args.k, kForwardVectors, args.scratch);
}

void take_scratch(const Context& context, const MemoryNormaliserBackwardArgs& args) {
  Arena::Scope scope(args.scratch);
  take_vectors(MemoryPacking(context.kernels.memory, args.k.shape[2]), args.k, kBackwardVectors, args.scratch);
}

void memory_normaliser_forward(const Context& context, Stream& stream, const MemoryNormaliserForwardArgs& args) {
  check(args);
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2];
  const MemoryPacking packing(context.kernels.memory, D);
  const std::int64_t P = packing.dims().padded_dim;
  Arena::Scope scope(args.scratch);
  const HeadScratch scratch = take_vectors(packing, args.k, kForwardVectors, args.scratch);
  parallel_items(stream, context.threads, G, [&](Worker& worker, std::int64_t g) {
    HeadScratch::Cursor arrays = scratch.of_head(g);
    SegmentWalk walk(context, worker, args.k, args.schedule, packing, g, arrays.take(packing.tile_floats()));
    float *narrow_z = arrays.take(P), *segment = arrays.take(P), *added = arrays.take(P);
    double* z = args.z.as<double>() + g * D;
    for (std::int64_t s = 0; s < args.schedule.num_steps(); ++s) {
      const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
      if (step.is_reset) std::fill_n(z, D, 0.0);
      std::copy_n(z, D, args.normalisers.z.as<double>() + (s * G + g) * D);
      std::fill_n(segment, P, 0.0F);
      walk.for_each_row(step,
                        [&](std::int64_t, const float* phi) { walk.kernels.add_scaled(walk.dims, segment, 1, phi); });
      std::copy_n(segment, D, args.normalisers.segment.as<double>() + (s * G + g) * D);
      if (args.rule != MemoryRule::DeltaCorrected) {
        packing.add_row(segment, z);
        continue;
      }
      packing.narrow_row(z, narrow_z);
      std::fill_n(added, P, 0.0F);
      walk.for_each_row(step, [&](std::int64_t, const float* phi) {
        const MemoryWeight weight = walk.kernels.weight(walk.dims, phi, narrow_z, segment);
        walk.kernels.add_scaled(walk.dims, added, weight.new_part(), phi);
      });
      packing.add_row(added, z);
    }
  });
}

void memory_normaliser_backward(const Context& context, Stream& stream, const MemoryNormaliserBackwardArgs& args) {
  check(args);
  const bool is_corrected = args.rule == MemoryRule::DeltaCorrected;
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2];
  const MemoryPacking packing(context.kernels.memory, D);
  const std::int64_t P = packing.dims().padded_dim;
  Arena::Scope scope(args.scratch);
  const HeadScratch scratch = take_vectors(packing, args.k, kBackwardVectors, args.scratch);
  parallel_items(stream, context.threads, G, [&](Worker& worker, std::int64_t g) {
    HeadScratch::Cursor arrays = scratch.of_head(g);
    SegmentWalk walk(context, worker, args.k, args.schedule, packing, g, arrays.take(packing.tile_floats()));
    const MemoryKernels& kernels = walk.kernels;
    float *z = arrays.take(P), *segment = arrays.take(P), *h = arrays.take(P);
    float *d_phi = arrays.take(P), *d_before = arrays.take(P), *d_segment = arrays.take(P);
    double* d_z = args.d_z.as<double>() + g * D;  // of z after the step
    for (std::int64_t s = args.schedule.num_steps() - 1; s >= 0; --s) {
      const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
      const std::int64_t row = (s * G + g) * D;
      packing.narrow_row(args.normalisers.z.as<double>() + row, z);
      packing.narrow_row(args.normalisers.segment.as<double>() + row, segment);
      packing.narrow_row(args.d_normalisers.segment.as<double>() + row, d_segment);
      packing.narrow_row(d_z, h);
      std::fill_n(d_before, P, 0.0F);
      if (is_corrected) {
        walk.for_each_row(step, [&](std::int64_t, const float* phi) {
          const CorrectionGradients d = correction_gradients(walk, phi, z, segment, h);
          kernels.add_scaled(walk.dims, d_before, d.overlap, phi);
          kernels.add_scaled(walk.dims, d_segment, d.within, phi);
        });
      }
      if (args.d_k) {
        walk.for_each_row(step, [&](std::int64_t u, const float* phi) {
          const auto d = is_corrected ? correction_gradients(walk, phi, z, segment, h) : CorrectionGradients{};
          std::copy_n(d_segment, P, d_phi);
          kernels.add_scaled(walk.dims, d_phi, d.gamma, h);
          kernels.add_scaled(walk.dims, d_phi, d.overlap, z);
          kernels.add_scaled(walk.dims, d_phi, d.within, segment);
          kernels.add_through_slope(walk.dims, rows_of<float>(args.d_k, g, u, 1).front(), d_phi, phi);
        });
      }
      packing.add_row(d_before, d_z);  // the write adds to z, so d_z also passes to z before it
      for (std::int64_t d = 0; d < D; ++d) d_z[d] += args.d_normalisers.z.as<double>()[row + d];
      if (step.is_reset) std::fill_n(d_z, D, 0.0);
    }
  });
}

}  // namespace rondo::cpu
