// SPDX-License-Identifier: Apache-2.0
// One run of a compressive memory with all its tensors, for the tests of every backend.
#pragma once

#include <algorithm>

#include "kernels/backend.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {

/// `num_writes` segments, each written after its last token's read; queries after them read the last state.
inline MemorySchedule whole_segments(std::int64_t segment_tokens, std::int64_t num_writes, std::int64_t num_queries) {
  MemorySchedule schedule{.segment_tokens = segment_tokens, .steps = {}};
  for (std::int64_t first = 0; first < num_queries; first += segment_tokens) {
    const std::int64_t segment = first / segment_tokens;
    schedule.steps.push_back({.is_reset = false,
                              .first_query = first,
                              .num_queries = std::min(segment_tokens, num_queries - first),
                              .first_key = segment < num_writes ? first : MemoryStep::kNoWrite});
  }
  return schedule;
}

/// Forward from (m_before, z_before), and backward of the objective
/// d_read . read + m_seed . (m after) + z_seed . (z after).
class MemoryProblem {
 public:
  /// All inputs zero, the memory empty.
  MemoryProblem(DType dtype, MemoryRule memory_rule, MemorySchedule steps, std::int64_t heads, std::int64_t kv_heads,
                std::int64_t dim)
      : rule(memory_rule), schedule(std::move(steps)) {
    const DType sum = accumulator_of(dtype);
    std::int64_t num_queries = 0, num_keys = 0;
    for (const MemoryStep& step : schedule.steps) {
      num_queries = std::max(num_queries, step.first_query + step.num_queries);
      if (step.first_key != MemoryStep::kNoWrite) {
        num_keys = std::max(num_keys, step.first_key + schedule.segment_tokens);
      }
    }
    const Shape queries{num_queries, heads, dim}, keys{num_keys, kv_heads, dim}, matrix{kv_heads, dim, dim},
        vector{kv_heads, dim}, vectors{schedule.num_steps(), kv_heads, dim};
    q = Tensor(dtype, queries), k = Tensor(dtype, keys), v = Tensor(dtype, keys);
    m = Tensor(DType::Fp64, matrix), m_before = Tensor(DType::Fp64, matrix), m_seed = Tensor(DType::Fp64, matrix);
    z = Tensor(DType::Fp64, vector), z_before = Tensor(DType::Fp64, vector), z_seed = Tensor(DType::Fp64, vector);
    for (Tensor* t : {&z_of_steps, &segments, &d_z_of_steps, &d_segments}) *t = Tensor(DType::Fp64, vectors);
    read = Tensor(sum, queries), read_normaliser = Tensor(sum, {heads, num_queries}), d_read = Tensor(sum, queries);
    d_q = Tensor(sum, queries), d_k = Tensor(sum, keys), d_v = Tensor(sum, keys);
    d_m = Tensor(DType::Fp64, matrix), d_z = Tensor(DType::Fp64, vector);
  }
  /// @param rounded the type that q, k, v are rounded to, whatever their storage type
  static MemoryProblem random(DType dtype, MemoryRule rule, MemorySchedule steps, std::int64_t heads,
                              std::int64_t kv_heads, std::int64_t dim, std::uint64_t seed, DType rounded) {
    MemoryProblem p(dtype, rule, std::move(steps), heads, kv_heads, dim);
    for (Tensor* input : {&p.q, &p.k, &p.v}) {
      *input = Tensor::random(rounded, input->shape(), seed++).converted(dtype);
    }
    for (Tensor* input : {&p.d_read, &p.m_seed, &p.z_seed}) {
      *input = Tensor::random(accumulator_of(rounded), input->shape(), seed++).converted(input->dtype());
    }
    return p;
  }

  /// Starts from the current (m, z) and leaves the state after the run there.
  void forward(Backend& backend, Host& host) {
    backend.memory_normaliser_forward(*host.stream, {rule, k, schedule, z, {z_of_steps, segments}, host.scratch});
    backend.compressive_memory_forward(*host.stream, {.rule = rule,
                                                      .q = q,
                                                      .k = k,
                                                      .v = v,
                                                      .schedule = schedule,
                                                      .normalisers = {z_of_steps, segments},
                                                      .m = m,
                                                      .decay = decay.count() > 0 ? decay.view() : TensorView{},
                                                      .read = {read, read_normaliser},
                                                      .scratch = host.scratch});
  }
  double objective(Backend& backend, Host& host) {
    m = m_before.copy(), z = z_before.copy();
    forward(backend, host);
    return dot(d_read, read) + dot(m_seed, m) + dot(z_seed, z);
  }
  /// Gradients of the objective. @pre objective() was called
  void backward(Backend& backend, Host& host) {
    d_m = m_seed.copy(), d_z = z_seed.copy();
    for (Tensor* sum : {&d_q, &d_k, &d_v}) *sum = Tensor(sum->dtype(), sum->shape());
    backend.compressive_memory_backward(*host.stream, arguments(host, d_q, d_k, d_v));
    backend.memory_normaliser_backward(
        *host.stream, {rule, k, schedule, {z_of_steps, segments}, {d_z_of_steps, d_segments}, d_z, d_k, host.scratch});
  }
  /// d_m starting from 0, as a rank computes it before it has received the gradient of the state after its run.
  void backward_of_m_alone(Backend& backend, Host& host) {
    d_m = Tensor(DType::Fp64, d_m.shape());
    backend.compressive_memory_backward(*host.stream, arguments(host, {}, {}, {}));
  }

  MemoryRule rule;
  MemorySchedule schedule;
  Tensor q, k, v, m, z, m_before, z_before, m_seed, z_seed, z_of_steps, segments, d_z_of_steps, d_segments, decay;
  Tensor read, read_normaliser, d_read, d_q, d_k, d_v, d_m, d_z;

 private:
  CompressiveMemoryBackwardArgs arguments(Host& host, const TensorView& to_q, const TensorView& to_k,
                                          const TensorView& to_v) const {
    return {.rule = rule,
            .q = q,
            .k = k,
            .v = v,
            .schedule = schedule,
            .normalisers = {z_of_steps, segments},
            .m = m_before,
            .read = {read, read_normaliser},
            .d_read = d_read,
            .d_m = d_m,
            .d_normalisers = {d_z_of_steps, d_segments},
            .d_q = to_q,
            .d_k = to_k,
            .d_v = to_v,
            .scratch = host.scratch};
  }
};

}  // namespace rondo::test
