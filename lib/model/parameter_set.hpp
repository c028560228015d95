// SPDX-License-Identifier: Apache-2.0
// All parameters of a model and their gradients, by name and by layer. Layers hold no weights, they acquire() them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/host_access.hpp"
#include "model/transformer_shape.hpp"
#include "runtime/execution.hpp"

namespace rondo {

struct Parameter {
  std::string name;
  TensorView value;         // master value: fp64 or fp32
  TensorView gradient;      // same type and shape
  TensorView compute_copy;  // bf16 copy of the value, empty unless computing in bf16
  bool decays;              // weight decay applies; false for norms, embeddings and gates
  bool is_gate;             // gate of a memory, which has its own learning rate
  std::int64_t layer;       // -1: before the first layer; L: after the last

  /// What kernels read.
  const TensorView& compute_value() const { return compute_copy ? compute_copy : value; }
};

/// A weight as a layer sees it: its value in the compute type, and where its gradient is added.
struct Weight {
  TensorView value;
  TensorView gradient;
};

struct LayerWeights {
  Weight attention_norm;  // [C]
  Weight qkv;             // [(N+2G)*D, C]
  Weight attention_out;   // [C, N*D]
  Weight memory_gate;     // [N] master value; empty in a layer without memory
  Weight ffn_norm;        // [C]
  Weight gate_up;         // [2F, C]
  Weight down;            // [C, F]
};

struct OuterWeights {
  Weight embedding;   // [V, C]
  Weight final_norm;  // [C]
  Weight head;        // [V, C], the embedding itself if tied
};

enum class ParameterUse {
  Training,
  Inference,  ///< no gradients: sinks are empty views
};

class ParameterSet {
 public:
  /// @param compute the type kernels read: fp64, fp32 or bf16 (with fp32 masters)
  ParameterSet(Execution& execution, const TransformerShape& shape, DType compute,
               ParameterUse use = ParameterUse::Training);

  /// Draws normal values of standard deviation 0.02, divided by sqrt(2 L) in the two projections back to the residual stream;
  /// sets norms to 1 and gates of memories to SegmentRule::gate_initial. A value depends on seed, name and index only, not on
  /// the number of ranks or threads.
  void initialise(std::uint64_t seed, int threads = 1);
  /// Sets every element of a parameter to `value`.
  void fill(const Parameter& parameter, double value);
  /// Writes the compute copies from the master values; call after loading these.
  void refresh_compute_copies();
  void zero_gradients();

  /// The weights of a layer, valid on the compute stream until release().
  LayerWeights acquire(std::int64_t layer) const;
  OuterWeights acquire_outer() const;
  void release(std::int64_t) const {}

  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Host access to parameters and to tensors that belong to them, such as moments.
  HostAccess& host_access() { return host_access_; }
  /// All gradients as one vector, for one reduction.
  TensorView all_gradients() const { return gradients_.view(); }
  std::int64_t num_values() const { return num_values_; }
  DType master_dtype() const { return accumulator_of(compute_); }
  DType compute_dtype() const { return compute_; }

 private:
  struct Declaration {
    std::string name;
    Shape shape;
    bool decays;
    std::int64_t layer;
  };
  static std::vector<Declaration> declarations(const TransformerShape& shape);
  Weight weight(std::size_t index) const;

  Execution& execution_;
  TransformerShape shape_;
  DType compute_;
  std::int64_t num_values_ = 0;
  Buffer values_, gradients_, compute_copies_;
  HostAccess host_access_;
  std::vector<Parameter> parameters_;
  std::vector<std::size_t> first_of_layer_;  // [L + 1] index of a layer's first parameter; [L]: the outer weights
};

}  // namespace rondo
