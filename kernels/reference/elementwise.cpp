// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

/// Nearest bf16 of an fp64. Conversion through fp32 would round twice, so the fp32 is rounded to odd: its last bit records
/// whether bits were cut off, so that all bits of the fp64 decide ties.
bf16 nearest_bf16(double value) {
  const auto nearest = static_cast<float>(value);
  if (std::isfinite(nearest) && static_cast<double>(nearest) != value) {
    auto bits = std::bit_cast<std::uint32_t>(nearest);
    if (std::abs(static_cast<double>(nearest)) > std::abs(value)) --bits;
    return bf16(std::bit_cast<float>(bits | 1U));
  }
  return bf16(nearest);
}

template <typename To, typename From> To rounded(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, bf16> && std::is_same_v<From, double>) {
    return nearest_bf16(value);
  } else {
    return static_cast<To>(value);
  }
}

template <typename T> void update(const AdamWArgs& args) {
  T* value = args.value.as<T>();
  T* moment_1 = args.moment_1.as<T>();
  T* moment_2 = args.moment_2.as<T>();
  const T* gradient = args.gradient.as<T>();
  bf16* copy = args.compute_copy ? args.compute_copy.as<bf16>() : nullptr;
  const auto beta_1 = static_cast<T>(args.beta_1), beta_2 = static_cast<T>(args.beta_2);
  const auto rest_1 = static_cast<T>(1 - args.beta_1), rest_2 = static_cast<T>(1 - args.beta_2);
  const auto steps = static_cast<double>(args.step);
  const auto correction_1 = static_cast<T>(1 / (1 - std::pow(args.beta_1, steps)));
  const auto correction_2 = static_cast<T>(1 / (1 - std::pow(args.beta_2, steps)));
  const auto rate = static_cast<T>(args.learning_rate), decay = static_cast<T>(args.weight_decay);
  const auto epsilon = static_cast<T>(args.epsilon), scale = static_cast<T>(args.gradient_scale);

  // m <- b1 m + (1 - b1) g,  u <- b2 u + (1 - b2) g^2,  w <- w - rate (m^ / (sqrt(u^) + epsilon) + decay w)
  for (std::int64_t i = 0; i < args.value.count(); ++i) {
    const T g = gradient[i] * scale;
    moment_1[i] = beta_1 * moment_1[i] + rest_1 * g;
    moment_2[i] = beta_2 * moment_2[i] + rest_2 * g * g;
    const T direction = moment_1[i] * correction_1 / (std::sqrt(moment_2[i] * correction_2) + epsilon);
    value[i] -= rate * (direction + decay * value[i]);
    if (copy != nullptr) copy[i] = rounded<bf16>(value[i]);
  }
}

}  // namespace

void convert(const ConvertArgs& args) {
  check(args);
  with_storage_type(args.from.dtype, [&]<typename From>() {
    with_storage_type(args.to.dtype, [&]<typename To>() {
      const From* from = args.from.as<From>();
      std::transform(from, from + args.from.count(), args.to.as<To>(), rounded<To, From>);
    });
  });
}

void add(const AddArgs& args) {
  check(args);
  with_storage_type(args.from.dtype, [&]<typename From>() {
    with_storage_type(args.to.dtype, [&]<typename To>() {
      // The accumulator of one of the two is the wider type.
      using Wide = std::common_type_t<Accumulator<From>, Accumulator<To>>;
      const From* from = args.from.as<From>();
      To* to = args.to.as<To>();
      for (std::int64_t i = 0; i < args.to.count(); ++i) {
        to[i] = rounded<To>(static_cast<Wide>(to[i]) + static_cast<Wide>(from[i]));
      }
    });
  });
}

void sum(const SumArgs& args) {
  check(args);
  with_master_type(args.x.dtype, [&]<typename T>() {
    const T* x = args.x.as<T>();
    const std::int64_t count = args.x.count();
    double total = 0;
    for (std::int64_t first = 0; first < count; first += kSumChunk) {
      double partial = 0;
      for (std::int64_t i = first; i < std::min(first + kSumChunk, count); ++i) {
        const auto value = static_cast<double>(x[i]);
        partial += args.power == SumArgs::Power::Two ? value * value : value;
      }
      total += partial;
    }
    *args.result += total;
  });
}

void adamw(const AdamWArgs& args) {
  check(args);
  with_master_type(args.value.dtype, [&]<typename T>() { update<T>(args); });
}

}  // namespace rondo::reference
