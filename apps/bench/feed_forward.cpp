// SPDX-License-Identifier: Apache-2.0
// `rondo bench feed_forward`: the blockwise feed-forward unit of a layer, forward and backward, with its scratch memory, which
// does not depend on the number of tokens.
#include <algorithm>
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/bench/tensors.hpp"
#include "model/blockwise_feed_forward.hpp"

namespace rondo::bench {

namespace {

struct FeedForwardOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"bf16"};
  std::int64_t tokens = 4096, d_model = 768, d_ff = 2048, chunk_tokens = 1024;
};

TransformerShape shape_of(const FeedForwardOptions& options) {
  TransformerShape shape{};
  shape.layers = 1;
  shape.d_model = options.d_model;
  shape.d_ff = options.d_ff;
  shape.ffn_chunk_tokens = options.chunk_tokens;
  return shape;
}

/// The unit with its weights, its input and its own scratch memory.
class Unit {
 public:
  Unit(Execution& execution, DType dtype, const FeedForwardOptions& o, std::int64_t tokens)
      : scratch_(execution.device, MemoryUse::Workspace),
        execution_{execution.device, execution.backend, execution.compute, scratch_, execution.ring},
        unit_(execution_, shape_of(o)) {
    const auto weight = [&](const Shape& shape) {
      return Buffer(execution.device, dtype, shape, MemoryUse::Parameters);
    };
    const auto sum = [&](const Shape& shape) {
      return Buffer(execution.device, accumulator_of(dtype), shape, MemoryUse::Gradients);
    };
    const auto activation = [&] {
      return Buffer(execution.device, dtype, {tokens, o.d_model}, MemoryUse::KeptActivations);
    };
    const Shape norm{o.d_model}, gate_up{2 * o.d_ff, o.d_model}, down{o.d_model, o.d_ff};
    norm_ = weight(norm), gate_up_ = weight(gate_up), down_ = weight(down);
    d_norm_ = sum(norm), d_gate_up_ = sum(gate_up), d_down_ = sum(down);
    input_ = activation(), d_output_ = activation(), x_ = activation(), d_x_ = activation();
    weights_.ffn_norm = {norm_.view(), d_norm_.view()};
    weights_.gate_up = {gate_up_.view(), d_gate_up_.view()};
    weights_.down = {down_.view(), d_down_.view()};
    scratch_before_ = execution.device.memory().current_bytes(MemoryUse::Workspace);
  }

  void fill() {
    constexpr double kDeviation = 0.02;  // standard deviation of the initial weights
    execution_.device.fill(execution_.compute, norm_.view(), 1);
    fill_random(execution_, gate_up_.view(), 1, kDeviation);
    fill_random(execution_, down_.view(), 2, kDeviation);
    fill_random(execution_, input_.view(), 3);
    fill_random(execution_, d_output_.view(), 4);
  }
  /// Copies everything that fill() sets, in another precision.
  void convert_from(const Unit& other) {
    for (const auto part : {&Unit::norm_, &Unit::gate_up_, &Unit::down_, &Unit::input_, &Unit::d_output_}) {
      execution_.backend.convert(execution_.compute, {.from = (other.*part).view(), .to = (this->*part).view()});
    }
  }

  void begin_forward() { copy(input_, x_); }
  void forward() { unit_.forward(weights_, x_.view()); }
  void begin_backward() {
    copy(d_output_, d_x_);
    for (const Buffer* sum : {&d_norm_, &d_gate_up_, &d_down_}) {
      execution_.device.fill_zero(execution_.compute, sum->data(), sum->size_bytes());
    }
  }
  void backward() { unit_.backward(weights_, input_.view(), d_x_.view()); }
  void both() {
    begin_forward();
    forward();
    begin_backward();
    backward();
  }

  std::vector<std::vector<double>> outputs() {
    std::vector<std::vector<double>> values;
    for (const Buffer* output : {&x_, &d_x_, &d_norm_, &d_gate_up_, &d_down_}) {
      values.push_back(values_of(execution_, output->view()));
    }
    return values;
  }
  /// Scratch memory of the chunks since construction, beyond weights, gradients, inputs and outputs.
  std::size_t scratch_bytes() {
    return execution_.device.memory().current_bytes(MemoryUse::Workspace) - scratch_before_;
  }

 private:
  void copy(const Buffer& from, const Buffer& to) {
    execution_.device.copy(execution_.compute, to.data(), from.data(), from.size_bytes());
  }

  Arena scratch_;
  Execution execution_;
  BlockwiseFeedForward unit_;
  Buffer norm_, gate_up_, down_, d_norm_, d_gate_up_, d_down_;
  Buffer input_, d_output_, x_, d_x_;  // the unit overwrites its argument
  LayerWeights weights_;
  std::size_t scratch_before_ = 0;
};

/// Checks the unit on at most 16 tokens, since the reference is slow.
std::string check_unit(Execution& execution, DType dtype, const FeedForwardOptions& options) {
  const std::int64_t tokens = std::min<std::int64_t>(options.tokens, 16);
  Runtime specification(Communicator::self(), reference_options());
  Execution& reference = specification.execution();
  Unit result(execution, dtype, options, tokens), plain(reference, dtype, options, tokens),
      exact(reference, DType::Fp64, options, tokens);
  result.fill();
  plain.fill();
  exact.convert_from(plain);
  for (Unit* unit : {&result, &plain, &exact}) unit->both();
  const auto found = result.outputs(), allowed = plain.outputs(), wanted = exact.outputs();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const std::string verdict = check_against(found[i], allowed[i], wanted[i], dtype);
    if (verdict != "right") return verdict;
  }
  return "right";
}

void add_results(Execution& execution, const FeedForwardOptions& options, const Peak& peak,
                 std::vector<Result>& results) {
  Unit unit(execution, peak.dtype, options, options.tokens);
  unit.fill();
  unit.both();
  const std::string checked = options.run.check ? check_unit(execution, peak.dtype, options) : "";
  const double weights_and_tokens = 3 * static_cast<double>(options.tokens) * static_cast<double>(options.d_model) *
                                    static_cast<double>(options.d_ff);
  // Two FLOP per weight and token in forward, four in backward, which also recomputes gate and up.
  const auto add = [&](const char* pass, double factor, double recomputed, const Contender& contender) {
    const double flop = factor * weights_and_tokens;
    Result result{.parameters = {{"dtype", name_of(peak.dtype)},
                                 {"tokens", options.tokens},
                                 {"d_model", options.d_model},
                                 {"d_ff", options.d_ff},
                                 {"chunk_tokens", options.chunk_tokens},
                                 {"pass", pass}},
                  .formula = "forward 6 T C F, backward 12 T C F; recomputation is not counted",
                  .flop = flop,
                  .timing = measure(execution, options.run, contender),
                  .peak_flops_per_s = peak.flops_per_s,
                  .checked = checked};
    if (peak.is_measured()) {
      result.figures["share_of_peak_with_recomputation"] = (1 + recomputed) * result.flops_per_s() / peak.flops_per_s;
    }
    result.figures["scratch_bytes"] = unit.scratch_bytes();
    results.push_back(std::move(result));
  };
  add("forward", 2, 0, {[&] { unit.begin_forward(); }, [&] { unit.forward(); }});
  add("backward", 4, 1.0 / 3, {[&] { unit.begin_backward(); }, [&] { unit.backward(); }});
}

int run(const FeedForwardOptions& options) {
  Runtime runtime(Communicator::self(), machine_options(options.run));
  std::vector<Peak> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    peaks.push_back(measure_peak(runtime, dtype_from(name), options.run));
    add_results(runtime.execution(), options, peaks.back(), results);
  }
  report("feed_forward", options.run, runtime, peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_feed_forward(Program& program, CLI::App& group) {
  auto options = std::make_shared<FeedForwardOptions>();
  CLI::App* command = add_command(program, group,
                                  {"feed_forward", "The blockwise feed-forward unit of a layer.",
                                   "rondo bench feed_forward --tokens 4096 --d-model 768 --d-ff 2048"},
                                  [options] { return run(*options); });
  add_dtype_option(*command, options->dtypes);
  command->add_option("--tokens", options->tokens, "of this rank")->check(CLI::Range(1, 1 << 24));
  command->add_option("--d-model", options->d_model, "model.d_model")->check(CLI::Range(1, 1 << 16));
  command->add_option("--d-ff", options->d_ff, "model.d_ff")->check(CLI::Range(1, 1 << 18));
  command->add_option("--chunk-tokens", options->chunk_tokens, "memory.ffn_chunk_tokens")
      ->check(CLI::Range(1, 1 << 24));
  add_device_options(*command, options->run);
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
