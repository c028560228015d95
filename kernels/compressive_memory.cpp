// SPDX-License-Identifier: Apache-2.0
#include "kernels/compressive_memory.hpp"

#include <algorithm>
#include <vector>

namespace rondo {

namespace {

/// Checks that steps stay inside their tensors and have no row in common, since GPUs work on several steps at once.
/// @param num_queries  of the run, or -1 if nothing is read
void check_steps(const MemorySchedule& schedule, std::int64_t num_queries, std::int64_t num_keys) {
  std::int64_t end_of_queries = 0, end_of_keys = 0;
  for (const MemoryStep& step : schedule.steps) {
    if (num_queries >= 0 && step.num_queries > 0) {
      ensure(step.first_query >= end_of_queries, "steps read in order, each query once");
      end_of_queries = step.first_query + step.num_queries;
      ensure(end_of_queries <= num_queries, "a step's queries lie in the run");
    }
    if (step.first_key == MemoryStep::kNoWrite) continue;
    ensure(step.first_key >= end_of_keys, "segments are written in order, each once");
    end_of_keys = step.first_key + schedule.segment_tokens;
    ensure(end_of_keys <= num_keys, "a written segment lies in the keys");
  }
}

void check_normalisers(const MemorySchedule& schedule, const TensorView& k, const MemoryNormalisers& normalisers) {
  ensure(k.shape.rank() == 3, "k is [U, G, D]");
  for (const TensorView& vectors : {normalisers.z, normalisers.segment}) {
    expect_shape(vectors, {schedule.num_steps(), k.shape[1], k.shape[2]}, "normalisers [steps, G, D]");
    expect_dtype(vectors, DType::Fp64, "normalisers");
  }
}

void check_keys_and_values(const TensorView& k, const TensorView& v, const TensorView& matrix, const char* name) {
  expect_shape(v, k.shape, "v [U, G, D]");
  expect_dtype(v, k.dtype, "v");
  expect_shape(matrix, {k.shape[1], k.shape[2], k.shape[2]}, name);
  expect_dtype(matrix, DType::Fp64, name);
}

void check_read(const TensorView& q, const TensorView& k, const MemoryRead& read) {
  ensure(q.shape.rank() == 3 && q.shape[2] == k.shape[2], "q is [T, N, D] with the keys' D");
  ensure(k.shape[1] > 0 && q.shape[1] % k.shape[1] == 0, "query heads are a multiple of key heads");
  expect_dtype(q, k.dtype, "q");
  expect_shape(read.out, q.shape, "read.out [T, N, D]");
  expect_dtype(read.out, accumulator_of(q.dtype), "read.out");
  expect_shape(read.normaliser, {q.shape[1], q.shape[0]}, "read.normaliser [N, T]");
  expect_dtype(read.normaliser, accumulator_of(q.dtype), "read.normaliser");
}

void check_gate(const TensorView& local, const MemoryRead& read, const TensorView& gate) {
  ensure(local.shape.rank() == 3, "local is [T, N, D]");
  expect_shape(read.out, local.shape, "read.out [T, N, D]");
  expect_dtype(read.out, local.dtype, "read.out");
  expect_shape(read.normaliser, {local.shape[1], local.shape[0]}, "read.normaliser [N, T]");
  expect_dtype(read.normaliser, local.dtype, "read.normaliser");
  expect_shape(gate, {local.shape[1]}, "gate [N]");
  expect_dtype(gate, local.dtype, "gate");
}

}  // namespace

bool MemorySchedule::is_reset() const { return std::ranges::any_of(steps, &MemoryStep::is_reset); }

void check(const MemoryNormaliserForwardArgs& args) {
  check_normalisers(args.schedule, args.k, args.normalisers);
  check_steps(args.schedule, -1, args.k.shape[0]);
  expect_shape(args.z, {args.k.shape[1], args.k.shape[2]}, "z [G, D]");
  expect_dtype(args.z, DType::Fp64, "z");
}

void check(const MemoryNormaliserBackwardArgs& args) {
  check_normalisers(args.schedule, args.k, args.normalisers);
  check_normalisers(args.schedule, args.k, args.d_normalisers);
  check_steps(args.schedule, -1, args.k.shape[0]);
  expect_shape(args.d_z, {args.k.shape[1], args.k.shape[2]}, "d_z [G, D]");
  expect_dtype(args.d_z, DType::Fp64, "d_z");
  if (!args.d_k) return;
  expect_shape(args.d_k, args.k.shape, "d_k [U, G, D]");
  expect_dtype(args.d_k, accumulator_of(args.k.dtype), "d_k");
}

void check(const CompressiveMemoryForwardArgs& args) {
  check_normalisers(args.schedule, args.k, args.normalisers);
  check_keys_and_values(args.k, args.v, args.m, "m [G, D, D]");
  check_steps(args.schedule, args.q ? args.q.shape[0] : -1, args.k.shape[0]);
  if (args.q) check_read(args.q, args.k, args.read);
  if (!args.decay) return;
  ensure(args.rule != MemoryRule::Linear, "only delta rules make the memory decay");
  expect_shape(args.decay, args.m.shape, "decay [G, D, D]");
  expect_dtype(args.decay, DType::Fp64, "decay");
}

void check(const CompressiveMemoryBackwardArgs& args) {
  check_normalisers(args.schedule, args.k, args.normalisers);
  check_keys_and_values(args.k, args.v, args.m, "m [G, D, D]");
  check_keys_and_values(args.k, args.v, args.d_m, "d_m [G, D, D]");
  check_steps(args.schedule, args.q.shape[0], args.k.shape[0]);
  check_read(args.q, args.k, args.read);
  expect_shape(args.d_read, args.q.shape, "d_read [T, N, D]");
  expect_dtype(args.d_read, args.read.out.dtype, "d_read");
  if (!args.d_q) return;
  check_normalisers(args.schedule, args.k, args.d_normalisers);
  expect_shape(args.d_q, args.q.shape, "d_q [T, N, D]");
  expect_dtype(args.d_q, args.d_read.dtype, "d_q");
  expect_shape(args.d_k, args.k.shape, "d_k [U, G, D]");
  expect_dtype(args.d_k, args.d_read.dtype, "d_k");
  expect_shape(args.d_v, args.k.shape, "d_v [U, G, D]");
  expect_dtype(args.d_v, args.d_read.dtype, "d_v");
}

void check(const MemoryFoldArgs& args) {
  expect_dtype(args.state, DType::Fp64, "state");
  expect_shape(args.added, args.state.shape, "added [G, D, D] or [G, D]");
  ensure(args.added.dtype == DType::Fp64 || args.added.dtype == DType::Fp32, "added is of the accumulator type");
  if (!args.decay) return;
  expect_shape(args.decay, args.state.shape, "decay [G, D, D]");
  expect_dtype(args.decay, args.added.dtype, "decay");
}

void check(const MemoryGateForwardArgs& args) {
  check_gate(args.local, args.read, args.gate);
  expect_shape(args.out, args.local.shape, "out [T, N, D]");
  ensure(accumulator_of(args.out.dtype) == args.local.dtype, "out is of the storage type");
}

void check(const MemoryGateBackwardArgs& args) {
  check_gate(args.local, args.read, args.gate);
  expect_shape(args.d_out, args.local.shape, "d_out [T, N, D]");
  expect_shape(args.d_local, args.local.shape, "d_local [T, N, D]");
  expect_dtype(args.d_local, args.d_out.dtype, "d_local");
  ensure(accumulator_of(args.d_out.dtype) == args.local.dtype, "d_out is of the storage type");
  expect_shape(args.d_read, args.local.shape, "d_read [T, N, D]");
  expect_dtype(args.d_read, args.local.dtype, "d_read");
  expect_shape(args.d_gate, args.gate.shape, "d_gate [N]");
  expect_dtype(args.d_gate, args.gate.dtype, "d_gate");
}

namespace {

template <typename Sum> void fold(const MemoryFoldArgs& args) {
  const std::int64_t heads = args.state.shape[0], size = args.state.shape.row_count();
  const std::int64_t dim = args.state.shape[1], columns = size / dim;
  std::vector<double> before(static_cast<std::size_t>(size));
  for (std::int64_t g = 0; g < heads; ++g) {
    double* state = args.state.as<double>() + g * size;
    const Sum* added = args.added.as<Sum>() + g * size;
    std::copy_n(state, size, before.begin());
    if (args.is_reset) std::fill_n(state, size, 0.0);
    for (std::int64_t i = 0; !args.is_reset && args.decay && i < dim; ++i) {
      for (std::int64_t j = 0; j < dim; ++j) {
        const std::int64_t at = args.is_transposed ? j * dim + i : i * dim + j;
        const auto decay = static_cast<double>(args.decay.as<Sum>()[g * size + at]);
        for (std::int64_t c = 0; c < columns; ++c) {
          state[i * columns + c] -= decay * before[static_cast<std::size_t>(j * columns + c)];
        }
      }
    }
    for (std::int64_t i = 0; i < size; ++i) state[i] += static_cast<double>(added[i]);
  }
}

}  // namespace

void memory_fold_on_host(const MemoryFoldArgs& args) {
  check(args);
  args.added.dtype == DType::Fp64 ? fold<double>(args) : fold<float>(args);
}

}  // namespace rondo
