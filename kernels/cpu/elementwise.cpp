// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::cpu {

namespace {

// Chunks summed together, so that their chains of dependent additions run in parallel.
constexpr std::int64_t kTogether = 8;

// Sums of kTogether chunks of full length in fp64, each in order of its elements.
template <typename T, typename Term> void sum_full_chunks(const T* x, double* partial, Term term) {
  double sums[kTogether] = {};
  for (std::int64_t i = 0; i < kSumChunk; ++i) {
    for (std::int64_t c = 0; c < kTogether; ++c) sums[c] += term(static_cast<double>(x[c * kSumChunk + i]));
  }
  for (std::int64_t c = 0; c < kTogether; ++c) partial[c] = sums[c];
}

// The same chunks, order and rounding as the specification: bitwise equal to it for any number of threads.
template <typename T, typename Term>
double sum_of(const Context& context, const Stream& stream, const T* x, std::int64_t count, Term term) {
  // Partial sums are added up every kChunksPerRound chunks, so that their memory does not grow with the input.
  constexpr std::int64_t kChunksPerRound = 1024;
  double partial[kChunksPerRound];
  double total = 0;
  for (std::int64_t first = 0; first < count; first += kChunksPerRound * kSumChunk) {
    const std::int64_t in_round = std::min(count - first, kChunksPerRound * kSumChunk);
    const std::int64_t chunks = (in_round + kSumChunk - 1) / kSumChunk;
    parallel_chunks(stream, context.threads, chunks, kTogether, [&](Worker&, std::int64_t begin, std::int64_t end) {
      const T* from = x + first + begin * kSumChunk;
      if (end * kSumChunk <= in_round && end - begin == kTogether) return sum_full_chunks(from, partial + begin, term);
      for (std::int64_t c = begin; c < end; ++c, from += kSumChunk) {
        double sum = 0;
        for (std::int64_t i = 0; i < std::min(kSumChunk, in_round - c * kSumChunk); ++i) {
          sum += term(static_cast<double>(from[i]));
        }
        partial[c] = sum;
      }
    });
    for (std::int64_t c = 0; c < chunks; ++c) total += partial[c];
  }
  return total;
}

template <typename T> double sum_of(const Context& context, const Stream& stream, const SumArgs& args) {
  const T* x = args.x.as<T>();
  if (args.power == SumArgs::Power::Two) {
    return sum_of(context, stream, x, args.x.count(), [](double value) { return value * value; });
  }
  return sum_of(context, stream, x, args.x.count(), [](double value) { return value; });
}

// Only for reading and writing files, so it need not be fast.
void convert_fp64(const ConvertArgs& args) {
  with_storage_type(args.from.dtype, [&]<typename From>() {
    with_storage_type(args.to.dtype, [&]<typename To>() {
      const From* from = args.from.as<From>();
      To* to = args.to.as<To>();
      for (std::int64_t i = 0; i < args.from.count(); ++i) {
        if constexpr (std::is_same_v<To, double>) {
          to[i] = static_cast<double>(from[i]);
        } else {
          to[i] = static_cast<To>(static_cast<float>(from[i]));
        }
      }
    });
  });
}

}  // namespace

void convert(const Context& context, Stream& stream, const ConvertArgs& args) {
  check(args);
  if (args.from.dtype == DType::Fp64 || args.to.dtype == DType::Fp64) return convert_fp64(args);
  const Storage from = storage_of(args.from.dtype), to = storage_of(args.to.dtype);
  parallel_chunks(stream, context.threads, args.from.count(), kPassChunk,
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    context.kernels.rows.convert(from, at(args.from, begin), to, at(args.to, begin), end - begin);
                  });
}

void add(const Context& context, Stream& stream, const AddArgs& args) {
  check(args);
  const Storage from = storage_of(args.from.dtype), to = storage_of(args.to.dtype);
  parallel_chunks(stream, context.threads, args.from.count(), kPassChunk,
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    context.kernels.rows.add(from, at(args.from, begin), to, at(args.to, begin), end - begin);
                  });
}

void sum(const Context& context, Stream& stream, const SumArgs& args) {
  check(args);
  *args.result +=
      args.x.dtype == DType::Fp64 ? sum_of<double>(context, stream, args) : sum_of<float>(context, stream, args);
}

void adamw(const Context& context, Stream& stream, const AdamWArgs& args) {
  check(args);
  storage_of(args.value.dtype);
  const auto steps = static_cast<double>(args.step);
  const AdamWFactors factors{.gradient_scale = static_cast<float>(args.gradient_scale),
                             .learning_rate = static_cast<float>(args.learning_rate),
                             .beta_1 = static_cast<float>(args.beta_1),
                             .beta_2 = static_cast<float>(args.beta_2),
                             .epsilon = static_cast<float>(args.epsilon),
                             .weight_decay = static_cast<float>(args.weight_decay),
                             .rest_1 = static_cast<float>(1 - args.beta_1),
                             .rest_2 = static_cast<float>(1 - args.beta_2),
                             .correction_1 = static_cast<float>(1 / (1 - std::pow(args.beta_1, steps))),
                             .correction_2 = static_cast<float>(1 / (1 - std::pow(args.beta_2, steps)))};
  parallel_chunks(
      stream, context.threads, args.value.count(), kPassChunk, [&](Worker&, std::int64_t begin, std::int64_t end) {
        Bf16Bits* copy = args.compute_copy ? static_cast<Bf16Bits*>(args.compute_copy.data) + begin : nullptr;
        context.kernels.rows.adamw(factors, args.value.as<float>() + begin, args.moment_1.as<float>() + begin,
                                   args.moment_2.as<float>() + begin, args.gradient.as<float>() + begin, copy,
                                   end - begin);
      });
}

}  // namespace rondo::cpu
