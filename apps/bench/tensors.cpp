// SPDX-License-Identifier: Apache-2.0
#include "apps/bench/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <spdlog/fmt/fmt.h>

#include "core/host_access.hpp"
#include "core/random.hpp"

namespace rondo::bench {

namespace {

// The most numbers that are drawn. A prime, so that no two rows are equal where they are repeated.
constexpr std::int64_t kMostDrawn = 1048583;

template <typename T> void draw(std::byte* memory, std::int64_t count, std::uint64_t seed, double deviation) {
  const CounterRandom random(seed, stream_of("bench"));
  auto* values = reinterpret_cast<T*>(memory);
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = T(static_cast<float>(deviation * random.normal(static_cast<std::uint64_t>(i))));
  }
}

template <typename T> std::vector<double> widened(const std::byte* memory, std::int64_t count) {
  std::vector<double> values(static_cast<std::size_t>(count));
  std::transform(reinterpret_cast<const T*>(memory), reinterpret_cast<const T*>(memory) + count, values.begin(),
                 [](T value) { return static_cast<double>(value); });
  return values;
}

}  // namespace

void fill_random(Execution& execution, const TensorView& view, std::uint64_t seed, double deviation) {
  auto& [device, backend, compute, scratch, ring] = execution;
  const std::int64_t drawn = std::min(view.count(), kMostDrawn);
  const std::size_t drawn_bytes = static_cast<std::size_t>(drawn) * size_of(view.dtype);
  HostAccess(device, compute).write(view.data, drawn_bytes, [&](std::byte* memory) {
    view.dtype == DType::Bf16 ? draw<bf16>(memory, drawn, seed, deviation)
                              : draw<float>(memory, drawn, seed, deviation);
  });
  auto* first = static_cast<std::byte*>(view.data);
  for (std::size_t done = drawn_bytes; done < view.size_bytes(); done *= 2) {
    device.copy(compute, first + done, first, std::min(done, view.size_bytes() - done));
  }
}

std::vector<double> values_of(Execution& execution, const TensorView& view) {
  HostAccess access(execution.device, execution.compute);
  const std::byte* memory = access.read(view.data, view.size_bytes());
  if (view.dtype == DType::Bf16) return widened<bf16>(memory, view.count());
  if (view.dtype == DType::Fp32) return widened<float>(memory, view.count());
  ensure(view.dtype == DType::Fp64, "values are floating-point numbers");
  return widened<double>(memory, view.count());
}

std::string check_against(const std::vector<double>& result, const std::vector<double>& plain,
                          const std::vector<double>& exact, DType dtype) {
  ensure(result.size() == exact.size() && plain.size() == exact.size(), "what is compared has one size");
  double error = 0, allowed = 0, size = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double distance = std::abs(result[i] - exact[i]);
    if (std::isnan(distance)) return "not a number";
    error = std::max(error, distance);
    allowed = std::max(allowed, std::abs(plain[i] - exact[i]));
    size = std::max(size, std::abs(exact[i]));
  }
  const double rounding = dtype == DType::Bf16 ? 0x1p-8 : 0x1p-24;
  if (error <= 2 * allowed + rounding * size) return "right";
  return fmt::format("wrong by {:.3g}, plain version {:.3g}", error, allowed);
}

}  // namespace rondo::bench
