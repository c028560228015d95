// SPDX-License-Identifier: Apache-2.0
// `rondo bench memory`: the compressive memory of Infini-attention over a sequence of whole segments, forward and backward,
// with its normaliser.
#include <algorithm>
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/bench/tensors.hpp"

namespace rondo::bench {

namespace {

struct MemoryOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32", "bf16"}, rules{"linear", "delta", "delta_corrected"};
  std::vector<std::int64_t> head_dims{64, 128}, tokens{8192};
  std::int64_t segment_tokens = 512, heads = 8, kv_heads = 0;
};

struct MemoryShape {
  MemoryRule rule;
  std::string rule_name;
  std::int64_t tokens, segment_tokens, heads, kv_heads, head_dim;
};

MemoryRule rule_from(const std::string& name) {
  if (name == "delta") return MemoryRule::Delta;
  return name == "delta_corrected" ? MemoryRule::DeltaCorrected : MemoryRule::Linear;
}

/// Every segment reads the memory, and every whole segment updates it.
MemorySchedule schedule_of(const MemoryShape& shape) {
  const std::int64_t T = shape.tokens, L = shape.segment_tokens;
  MemorySchedule schedule{.segment_tokens = L, .steps = {}};
  for (std::int64_t first = 0; first < T; first += L) {
    schedule.steps.push_back({.is_reset = first == 0,
                              .first_query = first,
                              .num_queries = std::min(L, T - first),
                              .first_key = first + L <= T ? first : MemoryStep::kNoWrite});
  }
  return schedule;
}

/// A sequence that starts with an empty memory.
class Sequence {
 public:
  Sequence(Execution& execution, DType dtype, const MemoryShape& shape)
      : execution_(execution), rule_(shape.rule), schedule_(schedule_of(shape)) {
    const std::int64_t T = shape.tokens, N = shape.heads, G = shape.kv_heads, D = shape.head_dim;
    const Shape queries{T, N, D}, keys{T, G, D}, steps{schedule_.num_steps(), G, D};
    const DType sum = accumulator_of(dtype), state = DType::Fp64;
    q = make(dtype, queries), k = make(dtype, keys), v = make(dtype, keys), d_read = make(sum, queries);
    read = make(sum, queries), normaliser = make(sum, {N, T});
    d_q = make(sum, queries), d_k = make(sum, keys), d_v = make(sum, keys);
    for (Buffer* vectors : {&z_of_steps_, &segments_, &d_z_of_steps_, &d_segments_}) *vectors = make(state, steps);
    m_ = make(state, {G, D, D}), m_before_ = make(state, {G, D, D}), d_m_ = make(state, {G, D, D});
    z_ = make(state, {G, D}), d_z_ = make(state, {G, D});
  }

  void fill() const {
    std::uint64_t seed = 1;
    for (const Buffer* input : {&q, &k, &v, &d_read}) fill_random(execution_, input->view(), seed++);
  }
  void clear() const {
    for (const Buffer* zero : {&m_, &m_before_, &d_m_, &z_, &d_z_, &d_q, &d_k, &d_v}) {
      execution_.device.fill_zero(execution_.compute, zero->data(), zero->size_bytes());
    }
  }
  void forward() const {
    execution_.backend.memory_normaliser_forward(
        execution_.compute, {rule_, k.view(), schedule_, z_.view(), normalisers(), execution_.scratch});
    execution_.backend.compressive_memory_forward(execution_.compute, {.rule = rule_,
                                                                       .q = q.view(),
                                                                       .k = k.view(),
                                                                       .v = v.view(),
                                                                       .schedule = schedule_,
                                                                       .normalisers = normalisers(),
                                                                       .m = m_.view(),
                                                                       .decay = {},
                                                                       .read = what_was_read(),
                                                                       .scratch = execution_.scratch});
  }
  void backward() const {
    const MemoryNormalisers d_normalisers{d_z_of_steps_.view(), d_segments_.view()};
    execution_.backend.compressive_memory_backward(execution_.compute, {.rule = rule_,
                                                                        .q = q.view(),
                                                                        .k = k.view(),
                                                                        .v = v.view(),
                                                                        .schedule = schedule_,
                                                                        .normalisers = normalisers(),
                                                                        .m = m_before_.view(),
                                                                        .read = what_was_read(),
                                                                        .d_read = d_read.view(),
                                                                        .d_m = d_m_.view(),
                                                                        .d_normalisers = d_normalisers,
                                                                        .d_q = d_q.view(),
                                                                        .d_k = d_k.view(),
                                                                        .d_v = d_v.view(),
                                                                        .scratch = execution_.scratch});
    execution_.backend.memory_normaliser_backward(
        execution_.compute,
        {rule_, k.view(), schedule_, normalisers(), d_normalisers, d_z_.view(), d_k.view(), execution_.scratch});
  }
  void both() const {
    clear();
    forward();
    backward();
  }

  Buffer q, k, v, d_read, read, normaliser, d_q, d_k, d_v;

 private:
  Buffer make(DType dtype, const Shape& shape) const {
    return {execution_.device, dtype, shape, MemoryUse::KeptActivations};
  }
  MemoryNormalisers normalisers() const { return {z_of_steps_.view(), segments_.view()}; }
  MemoryRead what_was_read() const { return {read.view(), normaliser.view()}; }

  Execution& execution_;
  MemoryRule rule_;
  MemorySchedule schedule_;
  Buffer z_of_steps_, segments_, d_z_of_steps_, d_segments_, m_, m_before_, d_m_, z_, d_z_;
};

/// Checks on at most four segments, the last one partial, and 512 tokens, since the reference is slow.
std::string check_memory(Execution& execution, DType dtype, MemoryShape shape) {
  shape.segment_tokens = std::min<std::int64_t>(shape.segment_tokens, 146);
  shape.tokens = std::min<std::int64_t>({shape.tokens, 3 * shape.segment_tokens + 1, 512});
  Runtime specification(Communicator::self(), reference_options());
  Execution& reference = specification.execution();
  const Sequence result(execution, dtype, shape), plain(reference, dtype, shape), exact(reference, DType::Fp64, shape);
  result.fill();
  plain.fill();
  for (const auto input : {&Sequence::q, &Sequence::k, &Sequence::v, &Sequence::d_read}) {
    reference.backend.convert(reference.compute, {.from = (plain.*input).view(), .to = (exact.*input).view()});
  }
  result.both();
  plain.both();
  exact.both();
  for (const auto output : {&Sequence::read, &Sequence::normaliser, &Sequence::d_q, &Sequence::d_k, &Sequence::d_v}) {
    const TensorView& view = (result.*output).view();
    const std::string verdict = check_against(values_of(execution, view), values_of(reference, (plain.*output).view()),
                                              values_of(reference, (exact.*output).view()), view.dtype);
    if (verdict != "right") return verdict;
  }
  return "right";
}

Result memory_result(const char* pass, const MemoryShape& shape, const Peak& peak) {
  // Each query is multiplied with M, each key with a value; the delta rules also multiply each key with M.
  const std::int64_t rows = shape.heads + (shape.rule == MemoryRule::Linear ? 1 : 2) * shape.kv_heads;
  const auto forward = 2.0 * static_cast<double>(shape.tokens * rows * shape.head_dim * shape.head_dim);
  const bool is_forward = std::string(pass) == "forward";
  return {.parameters = {{"dtype", name_of(peak.dtype)},
                         {"rule", shape.rule_name},
                         {"head_dim", shape.head_dim},
                         {"tokens", shape.tokens},
                         {"segment_tokens", shape.segment_tokens},
                         {"heads", shape.heads},
                         {"kv_heads", shape.kv_heads},
                         {"pass", pass}},
          .formula = "forward 2 T D^2 (N + G), for delta rules (N + 2 G), backward twice that",
          .flop = is_forward ? forward : 2 * forward,
          .timing = {},
          .peak_flops_per_s = peak.flops_per_s};
}

void add_results(Execution& execution, const RunOptions& options, const Peak& peak, const MemoryShape& shape,
                 std::vector<Result>& results) {
  const Sequence sequence(execution, peak.dtype, shape);
  sequence.fill();
  sequence.both();
  const std::string checked = options.check ? check_memory(execution, peak.dtype, shape) : "";
  const auto add = [&](const char* pass, const Contender& contender) {
    Result result = memory_result(pass, shape, peak);
    result.timing = measure(execution, options, contender);
    result.checked = checked;
    results.push_back(std::move(result));
  };
  add("forward", {[&] { sequence.clear(); }, [&] { sequence.forward(); }});
  add("backward", {[&] { sequence.clear(); }, [&] { sequence.backward(); }});
}

int run(const MemoryOptions& options) {
  const std::int64_t kv_heads = options.kv_heads == 0 ? options.heads : options.kv_heads;
  if (options.heads % kv_heads != 0) {
    throw ConfigError("heads are not a multiple of key/value heads", "--kv-heads", "give a divisor of --heads");
  }
  Runtime runtime(Communicator::self(), machine_options(options.run));
  std::vector<Peak> peaks;
  std::vector<Result> results;
  for (const std::string& dtype : options.dtypes) {
    peaks.push_back(measure_peak(runtime, dtype_from(dtype), options.run));
    for (const std::string& rule : options.rules) {
      for (const std::int64_t head_dim : options.head_dims) {
        for (const std::int64_t tokens : options.tokens) {
          const MemoryShape shape{.rule = rule_from(rule),
                                  .rule_name = rule,
                                  .tokens = tokens,
                                  .segment_tokens = options.segment_tokens,
                                  .heads = options.heads,
                                  .kv_heads = kv_heads,
                                  .head_dim = head_dim};
          add_results(runtime.execution(), options.run, peaks.back(), shape, results);
        }
      }
    }
  }
  report("memory", options.run, runtime, peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_memory(Program& program, CLI::App& group) {
  auto options = std::make_shared<MemoryOptions>();
  CLI::App* command = add_command(program, group,
                                  {"memory", "The compressive memory of Infini-attention, forward and backward.",
                                   "rondo bench memory --dtype bf16 --rule delta --segment-tokens 2048"},
                                  [options] { return run(*options); });
  add_dtype_option(*command, options->dtypes);
  command->add_option("--rule", options->rules, "how a segment enters the memory")
      ->delimiter(',')
      ->check(CLI::IsMember({"linear", "delta", "delta_corrected"}));
  command->add_option("--head-dim", options->head_dims, "dimensions of a head")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->type_name("D");
  command->add_option("--tokens", options->tokens, "queries and keys")->delimiter(',')->check(CLI::Range(1, 1 << 24));
  command->add_option("--segment-tokens", options->segment_tokens, "tokens of a segment")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--heads", options->heads, "query heads")->check(CLI::Range(1, 1024));
  command->add_option("--kv-heads", options->kv_heads, "key/value heads, as many as heads if not given")
      ->check(CLI::Range(1, 1024));
  add_device_options(*command, options->run);
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
