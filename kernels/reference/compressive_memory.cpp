// SPDX-License-Identifier: Apache-2.0
#include "kernels/compressive_memory.hpp"

#include <algorithm>
#include <vector>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/memory_features.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

template <typename Sum> std::vector<Sum> narrowed(const double* values, std::int64_t count) {
  std::vector<Sum> to(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) to[static_cast<std::size_t>(i)] = static_cast<Sum>(values[i]);
  return to;
}

/// Sizes, and the offsets of the rows of one key head.
struct Head {
  std::int64_t g, G, N, D;

  std::int64_t key_row(std::int64_t u) const { return (u * G + g) * D; }
  std::int64_t query_row(std::int64_t t, std::int64_t n) const { return (t * N + n) * D; }
  /// Row of a step in [steps, G, D] fp64.
  double* row_of(const TensorView& vectors, std::int64_t s) const { return vectors.as<double>() + (s * G + g) * D; }
  template <typename Sum> std::vector<Sum> vector_of(const TensorView& vectors, std::int64_t s) const {
    return narrowed<Sum>(row_of(vectors, s), D);
  }
  std::int64_t first_query_head() const { return g * (N / G); }
  std::int64_t end_query_head() const { return (g + 1) * (N / G); }
};

/// row [columns] = x [D] matrix [D, columns]
template <typename Sum> std::vector<Sum> product(const std::vector<Sum>& x, const Sum* matrix, std::int64_t columns) {
  std::vector<Sum> row(static_cast<std::size_t>(columns), Sum{0});
  for (std::size_t d = 0; d < x.size(); ++d) {
    add_scaled(row.data(), x[d], matrix + static_cast<std::int64_t>(d) * columns, columns);
  }
  return row;
}

/// matrix += x^T y
template <typename Sum>
void add_outer_product(std::vector<Sum>& matrix, const std::vector<Sum>& x, const std::vector<Sum>& y) {
  const auto columns = static_cast<std::int64_t>(y.size());
  for (std::size_t d = 0; d < x.size(); ++d) {
    add_scaled(matrix.data() + static_cast<std::int64_t>(d) * columns, x[d], y.data(), columns);
  }
}

// --- forward ---

template <typename T>
void read_step(const CompressiveMemoryForwardArgs& args, const Head& head, std::int64_t s, const double* m64) {
  using Sum = Accumulator<T>;
  const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
  const std::int64_t T_all = args.q.shape[0];
  const std::vector<Sum> z = head.vector_of<Sum>(args.normalisers.z, s), m = narrowed<Sum>(m64, head.D * head.D);
  for (std::int64_t t = step.first_query; t < step.first_query + step.num_queries; ++t) {
    for (std::int64_t n = head.first_query_head(); n < head.end_query_head(); ++n) {
      const std::vector<Sum> psi = features<Sum>(args.q.as<T>() + head.query_row(t, n), head.D);
      const Sum normaliser = dot<Sum>(psi.data(), z.data(), head.D);
      const Sum inverse = reciprocal_or_zero(normaliser);
      const std::vector<Sum> weighted = product(psi, m.data(), head.D);
      Sum* out = args.read.out.as<Sum>() + head.query_row(t, n);
      for (std::int64_t d = 0; d < head.D; ++d) out[d] = weighted[static_cast<std::size_t>(d)] * inverse;
      args.read.normaliser.as<Sum>()[n * T_all + t] = normaliser;
    }
  }
}

/// Adds a segment to M, and to the decay if `decay64` is given: sum_t phi_t^T (v_t - w_t phi_t M),
/// sum_t w_t phi_t^T (phi_t - phi_t decay).
template <typename T>
void write_step(const CompressiveMemoryForwardArgs& args, const Head& head, std::int64_t s, double* m64,
                double* decay64) {
  using Sum = Accumulator<T>;
  const std::int64_t D = head.D;
  const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
  const bool is_delta = args.rule != MemoryRule::Linear;
  const std::vector<Sum> z = head.vector_of<Sum>(args.normalisers.z, s), m = narrowed<Sum>(m64, D * D),
                         segment = head.vector_of<Sum>(args.normalisers.segment, s);
  const std::vector<Sum> decay = decay64 == nullptr ? std::vector<Sum>{} : narrowed<Sum>(decay64, D * D);
  std::vector<Sum> added(m.size(), Sum{0}), decay_added(decay.size(), Sum{0});
  for (std::int64_t u = step.first_key; u < step.first_key + args.schedule.segment_tokens; ++u) {
    const std::vector<Sum> phi = features<Sum>(args.k.as<T>() + head.key_row(u), D);
    const T* v = args.v.as<T>() + head.key_row(u);
    std::vector<Sum> target(v, v + D);
    if (is_delta) {
      const Sum weight = retrieval_weight<Sum>(args.rule, phi, z.data(), segment.data()).value;
      const std::vector<Sum> retrieved = product(phi, m.data(), D);
      add_scaled(target.data(), -weight, retrieved.data(), D);
      if (decay64 != nullptr) {
        const std::vector<Sum> decayed = product(phi, decay.data(), D);
        std::vector<Sum> decay_target(static_cast<std::size_t>(D), Sum{0});
        add_scaled(decay_target.data(), weight, phi.data(), D);
        add_scaled(decay_target.data(), -weight, decayed.data(), D);
        add_outer_product(decay_added, phi, decay_target);
      }
    }
    add_outer_product(added, phi, target);
  }
  for (std::size_t i = 0; i < added.size(); ++i) m64[i] += static_cast<double>(added[i]);
  for (std::size_t i = 0; i < decay_added.size(); ++i) decay64[i] += static_cast<double>(decay_added[i]);
}

template <typename T> void forward(Stream& stream, const CompressiveMemoryForwardArgs& args) {
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2], N = args.q ? args.q.shape[1] : G;
  Pace pace(stream);
  for (std::int64_t g = 0; g < G; ++g) {
    const Head head{g, G, N, D};
    double* m = args.m.as<double>() + g * D * D;
    double* decay = args.decay ? args.decay.as<double>() + g * D * D : nullptr;
    if (decay != nullptr) std::fill_n(decay, D * D, 0.0);
    for (std::int64_t s = 0; s < args.schedule.num_steps(); ++s) {
      const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
      if (step.is_reset) {
        std::fill_n(m, D * D, 0.0);
        // nothing of the state before is left: decay = 1
        for (std::int64_t i = 0; decay != nullptr && i < D * D; ++i) decay[i] = i % (D + 1) == 0 ? 1 : 0;
      }
      if (args.q) read_step<T>(args, head, s, m);
      if (step.first_key != MemoryStep::kNoWrite) write_step<T>(args, head, s, m, decay);
      pace.advance(2 * (step.num_queries + args.schedule.segment_tokens) * D * D);
    }
  }
}

// --- backward ---

/// What the reads and the write of a step add to the gradient of the state before it.
template <typename Sum> struct StateGradients {
  explicit StateGradients(std::int64_t D)
      : m(static_cast<std::size_t>(D * D), Sum{0}),
        z(static_cast<std::size_t>(D), Sum{0}),
        segment(static_cast<std::size_t>(D), Sum{0}) {}
  std::vector<Sum> m, z, segment;
};

/// Gradients of the reads of a step: d_m += psi^T d_r, d_z += psi d_n, d_q += (d_r M^T + d_n z) sigma'(q), where
/// d_r = d_read / n and d_n = -(d_read . read) / n.
template <typename T>
void read_step_backward(const CompressiveMemoryBackwardArgs& args, const Head& head, std::int64_t s, const double* m64,
                        StateGradients<Accumulator<T>>& added) {
  using Sum = Accumulator<T>;
  const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
  const std::int64_t D = head.D, T_all = args.q.shape[0];
  const std::vector<Sum> z = head.vector_of<Sum>(args.normalisers.z, s), m = narrowed<Sum>(m64, D * D);
  for (std::int64_t t = step.first_query; t < step.first_query + step.num_queries; ++t) {
    for (std::int64_t n = head.first_query_head(); n < head.end_query_head(); ++n) {
      const std::int64_t row = head.query_row(t, n);
      const std::vector<Sum> psi = features<Sum>(args.q.as<T>() + row, D);
      const Sum inverse = reciprocal_or_zero(args.read.normaliser.as<Sum>()[n * T_all + t]);
      const Sum* d_read = args.d_read.as<Sum>() + row;
      std::vector<Sum> d_r(static_cast<std::size_t>(D), Sum{0});
      add_scaled(d_r.data(), inverse, d_read, D);
      add_outer_product(added.m, psi, d_r);
      if (!args.d_q) continue;
      const Sum d_n = -inverse * dot<Sum>(d_read, args.read.out.as<Sum>() + row, D);
      add_scaled(added.z.data(), d_n, psi.data(), D);
      std::vector<Sum> d_psi(static_cast<std::size_t>(D));
      for (std::int64_t d = 0; d < D; ++d) {
        d_psi[static_cast<std::size_t>(d)] =
            dot<Sum>(m.data() + d * D, d_r.data(), D) + d_n * z[static_cast<std::size_t>(d)];
      }
      add_feature_gradient(args.d_q.as<Sum>() + row, args.q.as<T>() + row, d_psi.data(), D);
    }
  }
}

/// Gradients of a write, given that of M after it. With x = phi M and the target v - w x: d_v = phi d_m, d_phi = target d_m^T;
/// delta rules: d_x = -w d_v, d_phi += d_x M^T, d_m += phi^T d_x, and w^2 (d_v . x) is the gradient of c or e, whichever w is
/// the reciprocal of.
template <typename T>
void write_step_backward(const CompressiveMemoryBackwardArgs& args, const Head& head, std::int64_t s, const double* m64,
                         const double* behind64, StateGradients<Accumulator<T>>& added) {
  using Sum = Accumulator<T>;
  const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
  const std::int64_t D = head.D;
  const bool is_delta = args.rule != MemoryRule::Linear;
  if (!is_delta && !args.d_q) return;
  const std::vector<Sum> z = head.vector_of<Sum>(args.normalisers.z, s), m = narrowed<Sum>(m64, D * D),
                         segment = head.vector_of<Sum>(args.normalisers.segment, s),
                         behind = narrowed<Sum>(behind64, D * D);
  for (std::int64_t u = step.first_key; u < step.first_key + args.schedule.segment_tokens; ++u) {
    const std::int64_t row = head.key_row(u);
    const std::vector<Sum> phi = features<Sum>(args.k.as<T>() + row, D);
    const std::vector<Sum> d_v = product(phi, behind.data(), D);
    std::vector<Sum> target(args.v.as<T>() + row, args.v.as<T>() + row + D), d_x(static_cast<std::size_t>(D), Sum{0});
    Sum d_overlap = 0, d_within = 0;
    if (is_delta) {
      const RetrievalWeight<Sum> weight = retrieval_weight<Sum>(args.rule, phi, z.data(), segment.data());
      const std::vector<Sum> x = product(phi, m.data(), D);
      add_scaled(target.data(), -weight.value, x.data(), D);
      add_scaled(d_x.data(), -weight.value, d_v.data(), D);
      (weight.is_overlap ? d_overlap : d_within) = weight.value * weight.value * dot<Sum>(d_v.data(), x.data(), D);
      add_outer_product(added.m, phi, d_x);
      add_scaled(added.z.data(), d_overlap, phi.data(), D);
      add_scaled(added.segment.data(), d_within, phi.data(), D);
    }
    if (!args.d_q) continue;
    add_scaled(args.d_v.as<Sum>() + row, Sum{1}, d_v.data(), D);
    std::vector<Sum> d_phi(static_cast<std::size_t>(D));
    for (std::int64_t d = 0; d < D; ++d) {
      d_phi[static_cast<std::size_t>(d)] =
          dot<Sum>(behind.data() + d * D, target.data(), D) + dot<Sum>(m.data() + d * D, d_x.data(), D);
    }
    add_scaled(d_phi.data(), d_overlap, z.data(), D);
    add_scaled(d_phi.data(), d_within, segment.data(), D);
    add_feature_gradient(args.d_k.as<Sum>() + row, args.k.as<T>() + row, d_phi.data(), D);
  }
}

/// M before every step, [steps, D, D], recomputed by repeating the writes.
template <typename T> std::vector<double> states_of(const CompressiveMemoryBackwardArgs& args, const Head& head) {
  const std::int64_t size = head.D * head.D;
  const CompressiveMemoryForwardArgs again{.rule = args.rule,
                                           .q = {},
                                           .k = args.k,
                                           .v = args.v,
                                           .schedule = args.schedule,
                                           .normalisers = args.normalisers,
                                           .m = {},
                                           .decay = {},
                                           .read = {},
                                           .scratch = args.scratch};
  std::vector<double> m(args.m.as<double>() + head.g * size, args.m.as<double>() + (head.g + 1) * size);
  std::vector<double> states(static_cast<std::size_t>(args.schedule.num_steps() * size));
  for (std::int64_t s = 0; s < args.schedule.num_steps(); ++s) {
    const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
    if (step.is_reset) std::ranges::fill(m, 0.0);
    std::ranges::copy(m, states.begin() + s * size);
    if (step.first_key == MemoryStep::kNoWrite) continue;
    write_step<T>(again, head, s, m.data(), nullptr);
  }
  return states;
}

template <typename T> void backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) {
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2], N = args.q.shape[1];
  Pace pace(stream);
  for (std::int64_t g = 0; g < G; ++g) {
    const Head head{g, G, N, D};
    const std::vector<double> states = states_of<T>(args, head);
    double* d_m = args.d_m.as<double>() + g * D * D;
    for (std::int64_t s = args.schedule.num_steps() - 1; s >= 0; --s) {
      const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
      const double* m = states.data() + s * D * D;
      StateGradients<Accumulator<T>> added(D);
      if (step.first_key != MemoryStep::kNoWrite) write_step_backward<T>(args, head, s, m, d_m, added);
      read_step_backward<T>(args, head, s, m, added);
      add_scaled(d_m, 1.0, added.m.data(), D * D);
      if (args.d_q) {
        std::ranges::copy(added.z, head.row_of(args.d_normalisers.z, s));
        std::ranges::copy(added.segment, head.row_of(args.d_normalisers.segment, s));
      }
      if (step.is_reset) std::fill_n(d_m, D * D, 0.0);
      pace.advance(6 * (step.num_queries + args.schedule.segment_tokens) * D * D);
    }
  }
}

}  // namespace

void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args) {
  check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { forward<T>(stream, args); });
}

void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) {
  check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { backward<T>(stream, args); });
}

}  // namespace rondo::reference
