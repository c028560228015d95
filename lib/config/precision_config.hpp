// SPDX-License-Identifier: Apache-2.0
// [precision]: the element type of activations and matrix products. Master weights are fp32 at least.
#pragma once

#include "config/words.hpp"

namespace rondo {

enum class ComputePrecision { Auto, Fp64, Fp32, Bf16 };
constexpr auto words_of(ComputePrecision) {
  return std::to_array<Word<ComputePrecision>>({{ComputePrecision::Auto, "auto"},
                                                {ComputePrecision::Fp64, "fp64"},
                                                {ComputePrecision::Fp32, "fp32"},
                                                {ComputePrecision::Bf16, "bf16"}});
}

struct PrecisionConfig {
  ComputePrecision compute = ComputePrecision::Auto;

  bool operator==(const PrecisionConfig&) const = default;
};

}  // namespace rondo
