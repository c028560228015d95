// SPDX-License-Identifier: Apache-2.0
#include "model/ring_check.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <spdlog/fmt/fmt.h>
#include <vector>

#include "core/random.hpp"
#include "model/ring_attention.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kTokensOfARank = 5;

template <typename T> std::vector<T> values_of(const char* name, const TokenRuns& runs, std::int64_t row) {
  std::vector<T> values;
  values.reserve(static_cast<std::size_t>(runs.num_tokens() * row));
  const CounterRandom random(1, stream_of(name));
  for (std::int64_t local = 0; local < runs.num_tokens(); ++local) {
    for (std::int64_t i = 0; i < row; ++i) {
      // Multiples of 1/16 below 8 are the same number in every type.
      const double normal = random.normal(static_cast<std::uint64_t>(runs.global_of(local) * row + i));
      values.push_back(static_cast<T>(static_cast<float>(std::clamp(std::round(16 * normal) / 16, -7.0, 7.0))));
    }
  }
  return values;
}

/// A device tensor whose values depend on its name and the global position only.
template <typename T>
Buffer upload(Execution& execution, const char* name, const TokenRuns& runs, std::int64_t heads, std::int64_t dim) {
  const std::vector<T> values = values_of<T>(name, runs, heads * dim);
  Buffer buffer(execution.device, dtype_of<T>, {runs.num_tokens(), heads, dim}, MemoryUse::Workspace);
  execution.device.copy(execution.compute, buffer.data(), values.data(), buffer.size_bytes());
  execution.device.synchronize(execution.compute);
  return buffer;
}

template <typename T> std::vector<double> download(Execution& execution, const Buffer& buffer) {
  std::vector<T> values(static_cast<std::size_t>(buffer.view().count()));
  execution.device.copy(execution.compute, values.data(), buffer.data(), buffer.size_bytes());
  execution.device.synchronize(execution.compute);
  return {values.begin(), values.end()};
}

/// out, d_q, d_k, d_v of this rank's tokens, [T, heads, D] each.
using Results = std::array<std::vector<double>, 4>;

template <typename T> Results solve(Execution& execution, const Span& span, const RingCheck& c) {
  using Sum = Accumulator<T>;
  const TokenRuns& runs = span.runs();
  const std::int64_t tokens = runs.num_tokens();
  const auto zeros = [&](const Shape& shape) {
    Buffer buffer(execution.device, dtype_of<Sum>, shape, MemoryUse::Workspace);
    execution.device.fill_zero(execution.compute, buffer.data(), buffer.size_bytes());
    return buffer;
  };
  const Buffer q = upload<T>(execution, "q", runs, c.heads, c.head_dim);
  const Buffer k = upload<T>(execution, "k", runs, c.kv_heads, c.head_dim);
  const Buffer v = upload<T>(execution, "v", runs, c.kv_heads, c.head_dim);
  const Buffer d_out = upload<T>(execution, "d_out", runs, c.heads, c.head_dim);
  const Buffer out = zeros(q.view().shape), lse = zeros({c.heads, tokens});
  const Buffer d_q = zeros(q.view().shape), d_k = zeros(k.view().shape), d_v = zeros(k.view().shape);
  const SoftmaxCarry carry{out.view(), lse.view()};
  RingAttention attention(execution, 1 / std::sqrt(static_cast<double>(c.head_dim)));
  RingAttention::empty_carry(execution, carry);
  attention.forward(span, q.view(), {k.view(), v.view()}, carry);
  attention.backward(span, q.view(), {k.view(), v.view()}, {carry, d_out.view(), d_q.view(), {d_k.view(), d_v.view()}});
  return {download<Sum>(execution, out), download<Sum>(execution, d_q), download<Sum>(execution, d_k),
          download<Sum>(execution, d_v)};
}

Results solve(Execution& execution, const Span& span, const RingCheck& check) {
  switch (check.dtype) {
    case DType::Fp64: return solve<double>(execution, span, check);
    case DType::Bf16: return solve<bf16>(execution, span, check);
    case DType::Fp32:
    case DType::Int32:
    case DType::Int64: break;
  }
  return solve<float>(execution, span, check);
}

// The largest difference between the rows of a shard and the same rows of the whole tensor, relative to its largest value.
double relative_error(const std::vector<double>& shard, const std::vector<double>& whole, const TokenRuns& runs) {
  double largest = 0, error = 0;
  for (const double value : whole) largest = std::max(largest, std::abs(value));
  const std::size_t row = shard.size() / static_cast<std::size_t>(runs.num_tokens());
  for (std::size_t i = 0; i < shard.size(); ++i) {
    const auto position = static_cast<std::size_t>(runs.global_of(static_cast<std::int64_t>(i / row)));
    const double apart = std::abs(shard[i] - whole[position * row + i % row]);
    if (std::isnan(apart)) return apart;
    error = std::max(error, apart);
  }
  return error / largest;
}

// A few roundings of the type, plus a margin for sums over some thousand keys in another order.
double allowed_error(DType dtype) {
  if (dtype == DType::Fp64) return 1e-12;
  return dtype == DType::Bf16 ? 3e-2 : 2e-5;
}

}  // namespace

double ring_error(Execution& ring, Execution& one, const RingCheck& check) {
  const std::int64_t tokens = kTokensOfARank * ring.ring.size() + 1;
  const AttentionMask::Rule rule{.causal = true, .window = check.window};
  RingCheck exact = check;
  exact.dtype = DType::Fp64;
  const Span whole(SequenceLayout(tokens, 1, LayoutKind::Contiguous), rule, 0);
  const Span shard(SequenceLayout(tokens, ring.ring.size(), check.layout), rule, ring.ring.rank());
  const Results expected = solve(one, whole, exact), found = solve(ring, shard, check);
  double error = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double of_tensor = relative_error(found[i], expected[i], shard.runs());
    if (std::isnan(of_tensor)) return of_tensor;
    error = std::max(error, of_tensor);
  }
  return error;
}

void check_ring(const Communicator& world, Execution& ring, Execution& one, const RingCheck& check) {
  const double error = ring_error(ring, one, check), allowed = allowed_error(check.dtype);
  agree_on(world, [&] {
    if (error <= allowed) return;
    throw DeviceError(
        fmt::format("ring attention is wrong by {:.2g} of its largest value, allowed are {:.2g}", error, allowed),
        "parallel.self_check on host " + host_name(),
        "run again without this host, or with another transport; `rondo bench ring` narrows it down");
  });
}

}  // namespace rondo
