// SPDX-License-Identifier: Apache-2.0
#include "config/validate.hpp"

#include <algorithm>
#include <spdlog/fmt/fmt.h>

#include "config/resolve.hpp"

namespace rondo {

namespace {

using Problems = std::vector<Problem>;

std::string divisors_of(std::int64_t number) {
  std::vector<std::int64_t> divisors;
  for (std::int64_t d = 1; d * d <= number; ++d) {
    if (number % d != 0) continue;
    divisors.push_back(d);
    if (d != number / d) divisors.push_back(number / d);
  }
  std::ranges::sort(divisors);
  return fmt::format("{}", fmt::join(divisors, ", "));
}

void check_heads(const ModelConfig& model, Problems& problems) {
  if (model.heads < 1 || model.d_model < 1) return;  // a required key is missing: already reported
  if (model.kv_heads > 0 && model.heads % model.kv_heads != 0) {
    problems.push_back(
        {{"model.kv_heads", "model.heads"},
         fmt::format("model.heads ({}) must be a multiple of model.kv_heads ({})", model.heads, model.kv_heads),
         fmt::format("set model.kv_heads to one of {}", divisors_of(model.heads))});
  }
  if (model.head_dim == 0 && model.d_model % model.heads != 0) {
    problems.push_back({{"model.heads", "model.d_model", "model.head_dim"},
                        fmt::format("model.d_model / model.heads = {} / {} is no whole number, and "
                                    "model.head_dim is not given",
                                    model.d_model, model.heads),
                        "set model.head_dim, which may be chosen freely, or a number of heads that divides d_model"});
    return;
  }
  const std::int64_t head_dim = resolve(model).head_dim;
  if (head_dim % 2 != 0) {
    const bool computed = model.head_dim == 0;
    problems.push_back(
        {{computed ? "model.heads" : "model.head_dim", "model.head_dim", "model.d_model"},
         fmt::format("model.head_dim must be even, since rotary embeddings turn pairs, but is {}{}", head_dim,
                     computed ? fmt::format(" = {} / {}", model.d_model, model.heads) : ""),
         fmt::format("set model.head_dim to {} or {}", std::max<std::int64_t>(head_dim - 1, 2), head_dim + 1)});
  }
}

void check_spans(const RunConfig& config, Problems& problems) {
  const std::int64_t span = config.memory.span_tokens, segment = config.model.segment_tokens;
  if (span == 0) return;
  if (config.model.has_exact_layers()) {
    problems.push_back(
        {{"memory.span_tokens", "model.attention"},
         "memory.span_tokens needs a model of \"infini\" layers alone: \"exact\" attention sees the whole "
         "sequence at once",
         "set memory.span_tokens to 0, or model.attention to \"infini\""});
  } else if (span % segment != 0) {
    problems.push_back(
        {{"memory.span_tokens", "model.segment_tokens"},
         fmt::format("memory.span_tokens ({}) must be a multiple of model.segment_tokens ({})", span, segment),
         fmt::format("set memory.span_tokens to {}", (span / segment + 1) * segment)});
  }
}

void check_memory(const RunConfig& config, Problems& problems) {
  check_spans(config, problems);
  if (!config.model.has_memory()) return;
  if (config.model.window > 0) {
    problems.push_back({{"model.window", "model.attention"},
                        "model.window does not go with \"infini\" layers, whose window is counted in segments",
                        "remove model.window and set model.window_segments"});
  }
  if (config.parallel.layout == LayoutKind::Striped) {
    problems.push_back(
        {{"parallel.layout", "model.attention"},
         "parallel.layout = \"striped\" gives every rank a part of every segment, which a memory cannot be "
         "made of",
         "set parallel.layout to \"auto\" or \"contiguous\""});
  }
}

void check_attention(const ModelConfig& model, Problems& problems) {
  const auto kinds = static_cast<std::int64_t>(model.attention.size());
  if (model.layers > 0 && kinds > model.layers) {
    problems.push_back({{"model.attention", "model.layers"},
                        fmt::format("model.attention lists {} kinds for {} layers", kinds, model.layers),
                        fmt::format("list at most {}; the list is repeated over the layers", model.layers)});
  }
}

void check_rope(const ModelConfig& model, Problems& problems) {
  const bool is_scaled = model.rope_scaling != RopeScaling::None;
  if (!is_scaled && model.rope_scaling_factor != 1.0) {
    problems.push_back(
        {{"model.rope_scaling_factor", "model.rope_scaling"},
         fmt::format("model.rope_scaling_factor is {}, but model.rope_scaling is \"none\"", model.rope_scaling_factor),
         "set model.rope_scaling to \"linear\" or \"llama3\", or remove the factor"});
  }
  if (is_scaled && model.rope_scaling_factor == 1.0) {
    problems.push_back(
        {{"model.rope_scaling", "model.rope_scaling_factor"},
         fmt::format("model.rope_scaling = \"{}\" needs a model.rope_scaling_factor > 1", word_of(model.rope_scaling)),
         "set the factor, e.g. 8.0 for eight times the first sequence length"});
  }
  if (model.rope_low_frequency_factor >= model.rope_high_frequency_factor) {
    problems.push_back({{"model.rope_low_frequency_factor", "model.rope_high_frequency_factor"},
                        fmt::format("model.rope_low_frequency_factor ({}) must be less than "
                                    "model.rope_high_frequency_factor ({})",
                                    model.rope_low_frequency_factor, model.rope_high_frequency_factor),
                        "LLaMA 3 uses 1.0 and 4.0"});
  }
}

// Later arithmetic is in 64-bit integers: sizes that no machine can hold are rejected here, computed in fp64.
void check_sizes(const RunConfig& config, Problems& problems) {
  constexpr double kMostParameters = 1e15;
  constexpr double kMostValues = 1e17;
  const ModelConfig model = resolve(config.model);
  const auto real = [](std::int64_t size) { return static_cast<double>(size); };
  const double heads_width = real(model.heads) * real(model.head_dim);
  const double parameters = real(model.d_model) * (real(model.layers) * (4.0 * heads_width + 3.0 * real(model.d_ff)) +
                                                   2.0 * real(model.vocabulary_size));
  if (parameters > kMostParameters) {
    problems.push_back(
        {{"model.d_model", "model.layers", "model.heads", "model.head_dim", "model.d_ff", "model.vocabulary_size"},
         fmt::format("[model] describes up to {:.3g} parameters, more than the {:.0e} that Rondo counts", parameters,
                     kMostParameters),
         "make d_model, layers, heads, head_dim, d_ff or vocabulary_size smaller"});
  }
  const double tokens = real(config.data.sequence_length);
  const double values = tokens * real(model.layers) * (real(model.d_model) + 2.0 * heads_width);
  const double run_tokens = tokens * real(config.train.batch_sequences) * real(config.train.steps);
  if (values > kMostValues || run_tokens > kMostValues) {
    problems.push_back(
        {{"data.sequence_length", "train.batch_sequences", "train.steps", "model.layers", "model.d_model",
          "model.heads", "model.head_dim"},
         fmt::format("a run of {:.3g} tokens, with {:.3g} activations a sequence, is more than the {:.0e} "
                     "that Rondo counts",
                     run_tokens, values, kMostValues),
         "make data.sequence_length, train.batch_sequences or train.steps smaller"});
  }
}

void check_train(const TrainConfig& train, Problems& problems) {
  if (train.steps > 0 && train.warmup_steps > train.steps) {
    problems.push_back(
        {{"train.warmup_steps", "train.steps"},
         fmt::format("train.warmup_steps ({}) must be at most train.steps ({})", train.warmup_steps, train.steps),
         fmt::format("set train.warmup_steps to {} or so", train.steps / 10)});
  }
}

void check_devices(const RunConfig& config, Problems& problems) {
  const DeviceChoice device = config.parallel.device;
  const bool is_host = device == DeviceChoice::Cpu || device == DeviceChoice::Reference;
  if (config.precision.compute == ComputePrecision::Fp64 &&
      (device == DeviceChoice::Cpu || device == DeviceChoice::Cuda)) {
    problems.push_back(
        {{"precision.compute", "parallel.device"},
         fmt::format("precision.compute = \"fp64\" does not run on parallel.device = \"{}\"", word_of(device)),
         "set parallel.device to \"reference\", or precision.compute to \"fp32\""});
  }
  if (config.parallel.transport == TransportChoice::Nccl && is_host) {
    problems.push_back({{"parallel.transport", "parallel.device"},
                        fmt::format("parallel.transport = \"nccl\" moves data between GPUs, but parallel.device is "
                                    "\"{}\"",
                                    word_of(device)),
                        "set parallel.transport to \"auto\" or \"mpi\""});
  }
}

void check_world(const RunConfig& config, int world_size, Problems& problems) {
  if (world_size > 0 && config.data.corpus.empty()) {
    problems.push_back({{"data.corpus"},
                        "data.corpus is empty: there is nothing to train on",
                        "make a corpus with `rondo prepare` and add --set data.corpus=FILE"});
  }
  const int ring = config.parallel.ring == 0 ? world_size : config.parallel.ring;
  if (ring > 0 && config.data.sequence_length > 0 && config.data.sequence_length < ring) {
    problems.push_back({{"data.sequence_length", "parallel.ring"},
                        fmt::format("data.sequence_length ({}) is less than the {} ranks of the ring: every rank "
                                    "needs at least one token",
                                    config.data.sequence_length, ring),
                        fmt::format("use a sequence of at least {} tokens, or a ring of fewer ranks", ring)});
  }
  if (world_size == 0 || ring == 0) return;
  if (world_size % ring != 0) {
    problems.push_back({{"parallel.ring"},
                        fmt::format("{} rank{} cannot be divided into rings of parallel.ring = {}", world_size,
                                    world_size == 1 ? "" : "s", ring),
                        fmt::format("start a multiple of {} ranks, or set parallel.ring to {}{}", ring,
                                    world_size == 1 ? "" : "one of ", divisors_of(world_size))});
    return;
  }
  const int rings = world_size / ring;
  if (config.train.batch_sequences > 0 && config.train.batch_sequences % rings != 0) {
    const std::int64_t rounded = (config.train.batch_sequences + rings - 1) / rings * rings;
    problems.push_back({{"train.batch_sequences", "parallel.ring"},
                        fmt::format("train.batch_sequences ({}) must be a multiple of the {} rings that {} ranks form "
                                    "with parallel.ring = {}",
                                    config.train.batch_sequences, rings, world_size, ring),
                        fmt::format("set train.batch_sequences to {}, or parallel.ring to \"all\"", rounded)});
  }
}

}  // namespace

std::vector<Problem> validate(const RunConfig& config, int world_size) {
  Problems problems;
  check_heads(config.model, problems);
  check_attention(config.model, problems);
  check_rope(config.model, problems);
  check_sizes(config, problems);
  check_train(config.train, problems);
  check_devices(config, problems);
  check_memory(config, problems);
  check_world(config, world_size, problems);
  return problems;
}

}  // namespace rondo
