// SPDX-License-Identifier: Apache-2.0
// Operations with one pass over memory: conversion, addition, fixed-order sums and the AdamW update.
#pragma once

#include "core/tensor_view.hpp"

namespace rondo {

/// to = from, rounded to nearest; any two of fp64, fp32 and bf16.
struct ConvertArgs {
  TensorView from;  // [n...]
  TensorView to;    // [n...]
};

/// to += from, in the wider of the two types, rounded once.
struct AddArgs {
  TensorView from;  // [n...]
  TensorView to;    // [n...]
};

/// Elements per chunk of the fixed-order sums: partial sums are in fp64 and are added in order of the chunks.
inline constexpr std::int64_t kSumChunk = 4096;

/// *result += sum of x, or of x^2: fp64, over fixed chunks, so it depends only on the values.
struct SumArgs {
  enum class Power { One, Two };
  TensorView x;  // [n...] fp64 or fp32
  Power power;
  double* result;  // device memory
};

/// AdamW with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101), moments with bias correction.
struct AdamWArgs {
  TensorView value;         // [n...] master value, fp64 or fp32
  TensorView moment_1;      // [n...] same type
  TensorView moment_2;      // [n...] same type
  TensorView gradient;      // [n...] same type
  TensorView compute_copy;  // [n...] bf16 copy of the new value, or empty
  double gradient_scale;    // clipping factor
  double learning_rate, beta_1, beta_2, epsilon, weight_decay;
  std::int64_t step;  // 1 for the first update
};

void check(const ConvertArgs& args);
void check(const AddArgs& args);
void check(const SumArgs& args);
void check(const AdamWArgs& args);

}  // namespace rondo
