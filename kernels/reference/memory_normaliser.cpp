// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/memory_features.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

template <typename T, typename Body>
void for_each_written_row(const TensorView& k, const MemorySchedule& schedule, const MemoryStep& step, std::int64_t g,
                          Body&& body) {
  if (step.first_key == MemoryStep::kNoWrite) return;
  const std::int64_t G = k.shape[1], D = k.shape[2];
  for (std::int64_t u = step.first_key; u < step.first_key + schedule.segment_tokens; ++u) {
    const std::int64_t row = (u * G + g) * D;
    body(row, features<Accumulator<T>>(k.as<T>() + row, D));
  }
}

template <typename T> void forward(const MemoryNormaliserForwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2];
  for (std::int64_t g = 0; g < G; ++g) {
    double* z = args.z.as<double>() + g * D;
    for (std::int64_t s = 0; s < args.schedule.num_steps(); ++s) {
      const MemoryStep& step = args.schedule.steps[static_cast<std::size_t>(s)];
      if (step.is_reset) std::fill_n(z, D, 0.0);
      std::copy_n(z, D, args.normalisers.z.as<double>() + (s * G + g) * D);
      std::vector<Sum> segment(static_cast<std::size_t>(D), Sum{0});
      for_each_written_row<T>(args.k, args.schedule, step, g, [&](std::int64_t, const std::vector<Sum>& phi) {
        add_scaled(segment.data(), Sum{1}, phi.data(), D);
      });
      std::ranges::copy(segment, args.normalisers.segment.as<double>() + (s * G + g) * D);
      if (args.rule != MemoryRule::DeltaCorrected) {
        add_scaled(z, 1.0, segment.data(), D);
        continue;
      }
      std::vector<Sum> added(static_cast<std::size_t>(D), Sum{0});
      for_each_written_row<T>(args.k, args.schedule, step, g, [&](std::int64_t, const std::vector<Sum>& phi) {
        const auto weight = retrieval_weight<Sum>(args.rule, phi, z, segment.data());
        add_scaled(added.data(), weight.new_part(), phi.data(), D);
      });
      add_scaled(z, 1.0, added.data(), D);
    }
  }
}

/// The gradients of z before a segment and of its features, given h, the gradient of z after it.
template <typename T> class SegmentBackward {
  using Sum = Accumulator<T>;

 public:
  SegmentBackward(const MemoryNormaliserBackwardArgs& args, std::int64_t s, std::int64_t g, const double* h)
      : args_(args),
        step_(args.schedule.steps[static_cast<std::size_t>(s)]),
        g_(g),
        D_(args.k.shape[2]),
        h_(h),
        z_(args.normalisers.z.as<double>() + (s * args.k.shape[1] + g) * D_),
        segment_(args.normalisers.segment.as<double>() + (s * args.k.shape[1] + g) * D_) {}

  /// d_z += ..., d_segment += ..., through gamma = 1 - c / e of the corrected rule, where c < e.
  void add_state_gradients(std::vector<Sum>& d_z, std::vector<Sum>& d_segment) const {
    if (args_.rule != MemoryRule::DeltaCorrected) return;
    for_each_written_row<T>(args_.k, args_.schedule, step_, g_, [&](std::int64_t, const std::vector<Sum>& phi) {
      const Gradients d = gradients_of(phi);
      add_scaled(d_z.data(), d.overlap, phi.data(), D_);
      add_scaled(d_segment.data(), d.within, phi.data(), D_);
    });
  }
  void add_key_gradients(const std::vector<Sum>& d_segment) const {
    for_each_written_row<T>(args_.k, args_.schedule, step_, g_, [&](std::int64_t row, const std::vector<Sum>& phi) {
      const Gradients d = gradients_of(phi);
      std::vector<Sum> d_phi(d_segment);
      add_scaled(d_phi.data(), d.gamma, h_, D_);
      add_scaled(d_phi.data(), d.overlap, z_, D_);
      add_scaled(d_phi.data(), d.within, segment_, D_);
      add_feature_gradient(args_.d_k.as<Sum>() + row, args_.k.as<T>() + row, d_phi.data(), D_);
    });
  }

 private:
  struct Gradients {
    Sum gamma;            // gamma itself, which multiplies h
    Sum overlap, within;  // of c and of e
  };
  Gradients gradients_of(const std::vector<Sum>& phi) const {
    if (args_.rule != MemoryRule::DeltaCorrected) return {1, 0, 0};
    const auto weight = retrieval_weight<Sum>(args_.rule, phi, z_, segment_);
    if (weight.is_overlap) return {weight.new_part(), 0, 0};
    const Sum d_gamma = dot<Sum>(h_, phi.data(), D_);
    return {weight.new_part(), -d_gamma * weight.value, d_gamma * weight.overlap * weight.value * weight.value};
  }

  const MemoryNormaliserBackwardArgs& args_;
  const MemoryStep& step_;
  std::int64_t g_, D_;
  const double *h_, *z_, *segment_;
};

template <typename T> void backward(const MemoryNormaliserBackwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t G = args.k.shape[1], D = args.k.shape[2];
  for (std::int64_t g = 0; g < G; ++g) {
    double* h = args.d_z.as<double>() + g * D;  // of z after the step
    for (std::int64_t s = args.schedule.num_steps() - 1; s >= 0; --s) {
      const double* d_given = args.d_normalisers.segment.as<double>() + (s * G + g) * D;
      std::vector<Sum> d_before(static_cast<std::size_t>(D), Sum{0}), d_segment(d_given, d_given + D);
      const SegmentBackward<T> segment(args, s, g, h);
      segment.add_state_gradients(d_before, d_segment);
      if (args.d_k) segment.add_key_gradients(d_segment);
      // the write adds to z, so h also passes to z before it
      add_scaled(h, 1.0, d_before.data(), D);
      add_scaled(h, 1.0, args.d_normalisers.z.as<double>() + (s * G + g) * D, D);
      if (args.schedule.steps[static_cast<std::size_t>(s)].is_reset) std::fill_n(h, D, 0.0);
    }
  }
}

}  // namespace

void memory_normaliser_forward(const MemoryNormaliserForwardArgs& args) {
  check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { forward<T>(args); });
}

void memory_normaliser_backward(const MemoryNormaliserBackwardArgs& args) {
  check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { backward<T>(args); });
}

}  // namespace rondo::reference
