// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/rope.hpp"

#include <cmath>
#include <numbers>

namespace rondo::cpu {

namespace {

constexpr std::int64_t kMaxHalf = 512;

struct Turn {
  double cosine, sine;
};

// The angle is computed and reduced in fp64: at position 1e8 its error is 1e-8, below the rounding error of fp32.
Turn turn_of(double position, double frequency) {
  const double angle = std::remainder(position * frequency, 2 * std::numbers::pi);
  return {std::cos(angle), std::sin(angle)};
}

// Cosines and sines for the tokens of one tile, given its first position.
class TileTurns {
 public:
  TileTurns(const TurnTable& table, const std::vector<double>& frequencies, std::int64_t position)
      : table_(table), half_(static_cast<std::int64_t>(frequencies.size())) {
    for (std::int64_t i = 0; i < half_; ++i) {
      first_[i] = turn_of(static_cast<double>(position), frequencies[static_cast<std::size_t>(i)]);
    }
  }

  /// cos(a + b) = cos a cos b - sin a sin b,  sin(a + b) = sin a cos b + cos a sin b; `sign` is -1 for the inverse rotation.
  void at(std::int64_t token, double sign, float* cosines, float* sines) const {
    const double* c = table_.cosines.data() + token * half_;
    const double* s = table_.sines.data() + token * half_;
    for (std::int64_t i = 0; i < half_; ++i) {
      cosines[i] = static_cast<float>(first_[i].cosine * c[i] - first_[i].sine * s[i]);
      sines[i] = static_cast<float>(sign * (first_[i].sine * c[i] + first_[i].cosine * s[i]));
    }
  }

 private:
  const TurnTable& table_;
  std::int64_t half_;
  Turn first_[kMaxHalf];
};

struct Heads {
  std::int64_t count;
  Storage from_type;
  const char* from;
  Storage to_type;
  char* to;
};

std::int64_t bytes_of(Storage type) { return type == Storage::Fp32 ? 4 : 2; }

void turn(const RowKernels& rows, const Heads& heads, std::int64_t dim, const float* cosines, const float* sines) {
  for (std::int64_t head = 0; head < heads.count; ++head) {
    rows.rotate(heads.from_type, heads.from + head * dim * bytes_of(heads.from_type), heads.to_type,
                heads.to + head * dim * bytes_of(heads.to_type), cosines, sines, dim / 2);
  }
}

/// Calls body(token, cosines, sines) for all tokens, tile by tile; without frequencies both are null.
template <typename Tables, typename Body>
void for_each_token(const Context& context, const Stream& stream, const TokenRuns& positions,
                    const std::vector<double>& frequencies, double sign, Tables&& table_of, Body&& body) {
  ensure(frequencies.size() <= kMaxHalf, "a head has at most 1024 dimensions");
  for (const TokenRun& run : positions) {
    const TurnTable* table = frequencies.empty() ? nullptr : &table_of(run.stride);
    parallel_chunks(stream, context.threads, run.count, TurnTable::kTokens,
                    [&](Worker&, std::int64_t begin, std::int64_t end) {
                      if (table == nullptr) {
                        for (std::int64_t i = begin; i < end; ++i) body(run.local_first + i, nullptr, nullptr);
                        return;
                      }
                      const TileTurns turns(*table, frequencies, run.global_of(begin));
                      float cosines[kMaxHalf], sines[kMaxHalf];
                      for (std::int64_t i = begin; i < end; ++i) {
                        turns.at(i - begin, sign, cosines, sines);
                        body(run.local_first + i, cosines, sines);
                      }
                    });
  }
}

}  // namespace

const TurnTable& Rope::table(const std::vector<double>& inverse_frequencies, std::int64_t stride) {
  if (inverse_frequencies != inverse_frequencies_) {
    tables_.clear();
    inverse_frequencies_ = inverse_frequencies;
  }
  TurnTable& table = tables_[stride];
  if (!table.cosines.empty()) return table;
  for (int i = 0; i < TurnTable::kTokens; ++i) {
    for (const double frequency : inverse_frequencies) {
      const Turn turn = turn_of(static_cast<double>(i * stride), frequency);
      table.cosines.push_back(turn.cosine);
      table.sines.push_back(turn.sine);
    }
  }
  return table;
}

void Rope::split_forward(const Context& context, Stream& stream, const QkvSplitForwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.q.dtype);
  const std::int64_t heads = args.q.shape[1], kv_heads = args.k.shape[1], dim = args.q.shape[2];
  const RowKernels& rows = context.kernels.rows;
  for_each_token(
      context, stream, args.positions, args.inverse_frequencies, 1,
      [&](std::int64_t stride) -> const TurnTable& { return table(args.inverse_frequencies, stride); },
      [&](std::int64_t t, const float* cosines, const float* sines) {
        const std::int64_t from = t * (heads + 2 * kv_heads) * dim;
        const Heads q{heads, storage, at(args.qkv, from), storage, at(args.q, t * heads * dim)};
        const Heads k{kv_heads, storage, at(args.qkv, from + heads * dim), storage, at(args.k, t * kv_heads * dim)};
        const char* v = at(args.qkv, from + (heads + kv_heads) * dim);
        rows.convert(storage, v, storage, at(args.v, t * kv_heads * dim), kv_heads * dim);
        if (cosines == nullptr) {
          rows.convert(storage, q.from, storage, q.to, heads * dim);
          rows.convert(storage, k.from, storage, k.to, kv_heads * dim);
        } else {
          turn(rows, q, dim, cosines, sines);
          turn(rows, k, dim, cosines, sines);
        }
      });
}

void Rope::split_backward(const Context& context, Stream& stream, const QkvSplitBackwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.d_qkv.dtype), sums = Storage::Fp32;
  const std::int64_t heads = args.d_q.shape[1], kv_heads = args.d_k.shape[1], dim = args.d_q.shape[2];
  const RowKernels& rows = context.kernels.rows;
  for_each_token(
      context, stream, args.positions, args.inverse_frequencies, -1,
      [&](std::int64_t stride) -> const TurnTable& { return table(args.inverse_frequencies, stride); },
      [&](std::int64_t t, const float* cosines, const float* sines) {
        const std::int64_t to = t * (heads + 2 * kv_heads) * dim;
        const Heads q{heads, sums, at(args.d_q, t * heads * dim), storage, at(args.d_qkv, to)};
        const Heads k{kv_heads, sums, at(args.d_k, t * kv_heads * dim), storage, at(args.d_qkv, to + heads * dim)};
        char* v = at(args.d_qkv, to + (heads + kv_heads) * dim);
        rows.convert(sums, at(args.d_v, t * kv_heads * dim), storage, v, kv_heads * dim);
        if (cosines == nullptr) {
          rows.convert(sums, q.from, storage, q.to, heads * dim);
          rows.convert(sums, k.from, storage, k.to, kv_heads * dim);
        } else {
          turn(rows, q, dim, cosines, sines);
          turn(rows, k, dim, cosines, sines);
        }
      });
}

}  // namespace rondo::cpu
