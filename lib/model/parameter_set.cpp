// SPDX-License-Identifier: Apache-2.0
#include "model/parameter_set.hpp"

#include <cmath>

#include "core/random.hpp"

namespace rondo {

namespace {

constexpr double kInitialDeviation = 0.02;
constexpr const char* kGate = ".memory_gate";
constexpr std::int64_t kAlignmentValues = 16;  // every tensor starts on a 64-byte boundary, in fp32 too

std::int64_t padded(std::int64_t count) { return (count + kAlignmentValues - 1) / kAlignmentValues * kAlignmentValues; }

}  // namespace

std::vector<ParameterSet::Declaration> ParameterSet::declarations(const TransformerShape& s) {
  std::vector<Declaration> list;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    list.push_back({prefix + "attention_norm", {s.d_model}, false, layer});
    list.push_back({prefix + "qkv", {s.qkv_columns(), s.d_model}, true, layer});
    list.push_back({prefix + "attention_out", {s.d_model, s.attention_columns()}, true, layer});
    if (s.has_memory(layer)) list.push_back({"layers." + std::to_string(layer) + kGate, {s.heads}, false, layer});
    list.push_back({prefix + "ffn_norm", {s.d_model}, false, layer});
    list.push_back({prefix + "gate_up", {2 * s.d_ff, s.d_model}, true, layer});
    list.push_back({prefix + "down", {s.d_model, s.d_ff}, true, layer});
  }
  list.push_back({"embedding", {s.vocabulary, s.d_model}, false, -1});
  list.push_back({"final_norm", {s.d_model}, false, s.layers});
  if (!s.tie_embeddings) list.push_back({"head", {s.vocabulary, s.d_model}, true, s.layers});
  return list;
}

ParameterSet::ParameterSet(Execution& execution, const TransformerShape& shape, DType compute, ParameterUse use)
    : execution_(execution), shape_(shape), compute_(compute), host_access_(execution.device, execution.compute) {
  const std::vector<Declaration> list = declarations(shape);
  for (const Declaration& d : list) num_values_ += padded(d.shape.count());
  values_ = Buffer(execution.device, master_dtype(), {num_values_}, MemoryUse::Parameters);
  if (use == ParameterUse::Training) {
    gradients_ = Buffer(execution.device, master_dtype(), {num_values_}, MemoryUse::Gradients);
  }
  if (compute == DType::Bf16) {
    compute_copies_ = Buffer(execution.device, compute, {num_values_}, MemoryUse::Parameters);
  }
  std::int64_t first = 0;
  for (const Declaration& d : list) {
    const auto slice = [&](const Buffer& all) {
      return all.data() == nullptr ? TensorView{} : all.view().rows(first, d.shape.count()).reshaped(d.shape);
    };
    const bool is_first_of_layer = d.layer == static_cast<std::int64_t>(first_of_layer_.size());
    if (is_first_of_layer || d.layer == -1) first_of_layer_.push_back(parameters_.size());
    parameters_.push_back({d.name, slice(values_), slice(gradients_), slice(compute_copies_), d.decays,
                           d.name.ends_with(kGate), d.layer});
    first += padded(d.shape.count());
  }
  execution.device.fill_zero(execution.compute, values_.data(), values_.size_bytes());  // the padding too
  zero_gradients();
}

void ParameterSet::initialise(std::uint64_t seed, int threads) {
  std::vector<double> doubles;
  std::vector<float> floats;
  const auto write = [&](const Parameter& parameter, auto& values) {
    if (parameter.value.shape.rank() > 1) {
      const bool to_residual = parameter.name.ends_with(".attention_out") || parameter.name.ends_with(".down");
      const double deviation =
          kInitialDeviation / (to_residual ? std::sqrt(2.0 * static_cast<double>(shape_.layers)) : 1.0);
      values.resize(static_cast<std::size_t>(parameter.value.count()));
      fill_normal(values, CounterRandom(seed, stream_of(parameter.name)), deviation, threads);
    } else {
      using T = typename std::remove_reference_t<decltype(values)>::value_type;
      values.assign(static_cast<std::size_t>(parameter.value.count()),
                    static_cast<T>(parameter.is_gate ? shape_.segments.gate_initial : 1.0));
    }
    execution_.device.copy(execution_.compute, parameter.value.data, values.data(), parameter.value.size_bytes());
    execution_.device.synchronize(execution_.compute);  // the host values are overwritten next
  };
  for (const Parameter& parameter : parameters_) {
    parameter.value.dtype == DType::Fp32 ? write(parameter, floats) : write(parameter, doubles);
  }
  refresh_compute_copies();
}

void ParameterSet::fill(const Parameter& parameter, double value) {
  execution_.device.fill(execution_.compute, parameter.value, value);
}

void ParameterSet::refresh_compute_copies() {
  if (compute_copies_.data() == nullptr) return;
  execution_.backend.convert(execution_.compute, {values_.view(), compute_copies_.view()});
}

void ParameterSet::zero_gradients() {
  execution_.device.fill_zero(execution_.compute, gradients_.data(), gradients_.size_bytes());
}

Weight ParameterSet::weight(std::size_t index) const {
  return {parameters_[index].compute_value(), parameters_[index].gradient};
}

LayerWeights ParameterSet::acquire(std::int64_t layer) const {
  std::size_t next = first_of_layer_[static_cast<std::size_t>(layer)];
  LayerWeights w;
  w.attention_norm = weight(next++);
  w.qkv = weight(next++);
  w.attention_out = weight(next++);
  if (shape_.has_memory(layer)) {
    w.memory_gate = {parameters_[next].value, parameters_[next].gradient};
    ++next;
  }
  w.ffn_norm = weight(next++);
  w.gate_up = weight(next++);
  w.down = weight(next++);
  return w;
}

OuterWeights ParameterSet::acquire_outer() const {
  const std::size_t first = first_of_layer_.back();
  return {weight(first), weight(first + 1), weight(shape_.tie_embeddings ? first : first + 2)};
}

}  // namespace rondo
