// SPDX-License-Identifier: Apache-2.0
#include "config/resolve.hpp"

#include <algorithm>

#include "config/validate.hpp"

namespace rondo {

namespace {

// LLaMA's feed-forward width: 2/3 of 4 d_model, so that three matrices cost what two of 4 d_model did.
std::int64_t default_d_ff(std::int64_t d_model) {
  constexpr std::int64_t kMultiple = 64;
  const std::int64_t width = (8 * d_model + 2) / 3;
  return (width + kMultiple - 1) / kMultiple * kMultiple;
}

void resolve_device(RunConfig& config, const Surroundings& surroundings) {
  DeviceChoice& device = config.parallel.device;
  ComputePrecision& compute = config.precision.compute;
  if (device == DeviceChoice::Auto) {
    device = compute == ComputePrecision::Fp64 ? DeviceChoice::Reference
             : surroundings.has_cuda           ? DeviceChoice::Cuda
                                               : DeviceChoice::Cpu;
  }
  const bool on_cuda = device == DeviceChoice::Cuda;
  if (compute == ComputePrecision::Auto) {
    compute = device == DeviceChoice::Reference        ? ComputePrecision::Fp64
              : on_cuda || surroundings.has_bf16_units ? ComputePrecision::Bf16
                                                       : ComputePrecision::Fp32;
  }
  TransportChoice& transport = config.parallel.transport;
  if (transport == TransportChoice::Auto) {
    transport = on_cuda && surroundings.has_nccl ? TransportChoice::Nccl : TransportChoice::Mpi;
  }
  if (!config.train.deterministic) config.train.deterministic = !on_cuda;
  // Weight gradients are read and written once per chunk; with fewer tokens a GPU would do little else.
  const std::int64_t chunk = on_cuda ? 4096 : 1024;
  if (config.memory.ffn_chunk_tokens == 0) config.memory.ffn_chunk_tokens = chunk;
  if (config.memory.head_chunk_tokens == 0) config.memory.head_chunk_tokens = chunk;
}

}  // namespace

ModelConfig resolve(ModelConfig model) {
  if (model.kv_heads == 0) model.kv_heads = model.heads;
  if (model.head_dim == 0 && model.heads > 0) model.head_dim = model.d_model / model.heads;
  if (model.d_ff == 0) model.d_ff = default_d_ff(model.d_model);
  return model;
}

RunConfig resolve(RunConfig config, const Surroundings& surroundings) {
  std::vector<Problem> problems = validate(config, surroundings.world_size);
  ModelConfig& model = config.model;
  model = resolve(model);
  if (model.vocabulary_size == 0) model.vocabulary_size = surroundings.vocabulary_size;
  if (model.vocabulary_size < surroundings.vocabulary_size) {
    problems.push_back(
        {.keys = {"model.vocabulary_size", "data.corpus"},
         .message = "model.vocabulary_size (" + std::to_string(model.vocabulary_size) + ") is less than the corpus's " +
                    std::to_string(surroundings.vocabulary_size) + " tokens",
         .fix = "remove model.vocabulary_size, or set it to at least " + std::to_string(surroundings.vocabulary_size)});
  }
  if (!problems.empty()) throw ConfigProblems(std::move(problems));

  if (config.parallel.ring == 0) config.parallel.ring = surroundings.world_size;
  if (!config.parallel.layout) {
    config.parallel.layout = config.parallel.ring == 1 || !model.has_exact_layers()
                                 ? LayoutKind::Contiguous
                                 : balancing_layout(true, model.window);
  }
  resolve_device(config, surroundings);
  return config;
}

}  // namespace rondo
