// SPDX-License-Identifier: Apache-2.0
// `rondo attention`: Ring Attention alone, forward and backward, on the user's own tensors.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <spdlog/fmt/fmt.h>

#include "apps/attention_files.hpp"
#include "apps/commands.hpp"
#include "apps/ranks.hpp"
#include "config/parallel_config.hpp"
#include "core/log.hpp"
#include "io/output_file.hpp"
#include "model/ring_attention.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

namespace {

struct AttentionOptions {
  std::string input, output;
  std::string layout = "auto", dtype = "fp32", device = "auto";
  bool causal = false, documents = false, backward = false, json = false;
  std::int64_t window = 0;
};

DType dtype_from(const std::string& word) {
  for (const DType type : {DType::Fp64, DType::Fp32, DType::Bf16}) {
    if (name_of(type) == word) return type;
  }
  throw ConfigError("there is no type '" + word + "'", "--dtype", "use fp64, fp32 or bf16");
}

// fp64 runs on the reference backend, the only one that supports it.
DeviceChoice device_for(const AttentionOptions& options) {
  const std::optional<DeviceChoice> choice = value_of<DeviceChoice>(options.device);
  if (!choice) {
    throw ConfigError("there is no device '" + options.device + "'", "--device", "use auto, cpu, cuda or reference");
  }
  if (options.dtype != "fp64") return *choice;
  if (*choice == DeviceChoice::Cpu || *choice == DeviceChoice::Cuda) {
    throw ConfigError("fp64 runs on the reference backend only", "--device", "use --device reference, or leave it out");
  }
  return DeviceChoice::Reference;
}

LayoutKind layout_for(const AttentionOptions& options) {
  if (options.layout != "auto") return layout_kind_from(options.layout);
  return balancing_layout(options.causal, options.window);
}

struct Settings {
  DType dtype;
  DeviceChoice device;
  LayoutKind layout;
};

constexpr const char* kFormat = "rondo attention";
constexpr std::int64_t kVersion = 1;

OutputKind output_kind() { return hdf5_kind("an output of `rondo attention`", kFormat); }

/// Owns the tensors of this rank's shard of one sequence.
class Shard {
 public:
  Shard(Execution& execution, const AttentionProblem& p, std::int64_t T, DType type, bool backward)
      : device_(execution.device), backward_(backward) {
    const DType sum = accumulator_of(type);
    const Shape queries{T, p.heads, p.head_dim}, keys{T, p.kv_heads, p.head_dim};
    q = make(type, queries), k = make(type, keys), v = make(type, keys);
    out = make(sum, queries), lse = make(sum, {p.heads, T});
    if (!backward) return;
    d_out = make(type, queries);
    d_q = make(sum, queries), d_k = make(sum, keys), d_v = make(sum, keys);
  }

  void clear(Execution& execution) const {
    RingAttention::empty_carry(execution, carry());
    if (!backward_) return;
    for (const Buffer* sink : {&d_q, &d_k, &d_v})
      device_.fill_zero(execution.compute, sink->data(), sink->size_bytes());
  }
  SoftmaxCarry carry() const { return {out.view(), lse.view()}; }

  Buffer q, k, v, out, lse, d_out, d_q, d_k, d_v;

 private:
  Buffer make(DType type, const Shape& shape) const { return Buffer(device_, type, shape, MemoryUse::Workspace); }

  Device& device_;
  bool backward_;
};

/// The datasets of the output file, in global token order.
struct Results {
  Results(Hdf5File& file, const AttentionProblem& p, DType sum, bool backward) {
    const Hdf5Type type = sum == DType::Fp64 ? Hdf5Type::Fp64 : Hdf5Type::Fp32;
    const auto add = [&](const char* name, const std::vector<std::int64_t>& extents) {
      return file.create_dataset(name, type, extents, {.contiguous = true});
    };
    out.emplace(add("out", {p.batch, p.tokens, p.heads, p.head_dim}));
    lse.emplace(add("lse", {p.batch, p.heads, p.tokens}));
    if (!backward) return;
    d_q.emplace(add("d_q", {p.batch, p.tokens, p.heads, p.head_dim}));
    d_k.emplace(add("d_k", {p.batch, p.tokens, p.kv_heads, p.head_dim}));
    d_v.emplace(add("d_v", {p.batch, p.tokens, p.kv_heads, p.head_dim}));
  }
  void close() {
    for (auto* dataset : {&out, &lse, &d_q, &d_k, &d_v}) {
      if (*dataset) (*dataset)->close();
    }
  }

  std::optional<Hdf5Dataset> out, lse, d_q, d_k, d_v;
};

struct Figures {
  double forward_ms = 0, backward_ms = 0, exposed_ms = 0;
  std::int64_t sent_bytes = 0;
};

// Milliseconds of `work` on the slowest rank.
template <typename Work> double time_of(Runtime& runtime, Work&& work) {
  runtime.world().barrier();
  const auto begin = std::chrono::steady_clock::now();
  work();
  Execution& execution = runtime.execution();
  execution.device.synchronize(execution.compute);
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count();
  return static_cast<double>(runtime.world().max(nanoseconds)) * 1e-6;
}

Figures compute(Runtime& runtime, const AttentionOptions& options, const Settings& settings,
                const AttentionProblem& problem, const Hdf5File& input, Results& results) {
  Execution& execution = runtime.execution();
  const SequenceLayout layout(problem.tokens, execution.ring.size(), settings.layout);
  const Span span(layout, {.causal = options.causal, .window = options.window}, execution.ring.rank(),
                  problem.document_offsets);
  RingAttention ring(execution, 1.0 / std::sqrt(static_cast<double>(problem.head_dim)));
  ShardIo io(execution, layout);
  const Shard shard(execution, problem, span.num_tokens(), settings.dtype, options.backward);
  const TensorView& q = shard.q.view();
  const KeyValue own{shard.k.view(), shard.v.view()}, d_own{shard.d_k.view(), shard.d_v.view()};
  Figures figures;
  for (std::int64_t b = 0; b < problem.batch; ++b) {
    io.read_tokens(input.open_dataset("q"), b, q);
    io.read_tokens(input.open_dataset("k"), b, own.k);
    io.read_tokens(input.open_dataset("v"), b, own.v);
    shard.clear(execution);
    figures.forward_ms += time_of(runtime, [&] { ring.forward(span, q, own, shard.carry()); });
    io.write_tokens(*results.out, b, shard.out.view());
    io.write_heads(*results.lse, b, shard.lse.view());
    if (!options.backward) continue;
    io.read_tokens(input.open_dataset("d_out"), b, shard.d_out.view());
    figures.backward_ms += time_of(runtime, [&] {
      ring.backward(span, q, own, {shard.carry(), shard.d_out.view(), shard.d_q.view(), d_own});
    });
    io.write_tokens(*results.d_q, b, shard.d_q.view());
    io.write_tokens(*results.d_k, b, d_own.k);
    io.write_tokens(*results.d_v, b, d_own.v);
  }
  Transport& transport = execution.ring.transport;
  figures.exposed_ms =
      static_cast<double>(runtime.world().max(static_cast<std::int64_t>(transport.exposed_s() * 1e9))) * 1e-6;
  figures.sent_bytes = runtime.world().sum(static_cast<std::int64_t>(transport.sent_bytes()));
  return figures;
}

void print(const Runtime& runtime, const AttentionOptions& options, const Settings& settings, const AttentionProblem& p,
           const Figures& figures) {
  const std::int64_t documents =
      p.document_offsets.empty() ? 1 : static_cast<std::int64_t>(p.document_offsets.size()) - 1;
  if (options.json) {
    const nlohmann::ordered_json document{{"output", options.output},
                                          {"ranks", runtime.world().size()},
                                          {"layout", name_of(settings.layout)},
                                          {"dtype", name_of(settings.dtype)},
                                          {"device", word_of(runtime.device_choice())},
                                          {"batch", p.batch},
                                          {"tokens", p.tokens},
                                          {"heads", p.heads},
                                          {"kv_heads", p.kv_heads},
                                          {"head_dim", p.head_dim},
                                          {"causal", options.causal || options.window > 0},
                                          {"window", options.window},
                                          {"documents", documents},
                                          {"forward_ms", figures.forward_ms},
                                          {"backward_ms", figures.backward_ms},
                                          {"exposed_communication_ms", figures.exposed_ms},
                                          {"sent_bytes", figures.sent_bytes}};
    std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return;
  }
  const std::string backward = options.backward ? fmt::format(", backward {:.3f} ms", figures.backward_ms) : "";
  fmt::print("{}: {} sequences of {} tokens, {}, {}\n", options.output, p.batch, p.tokens, name_of(settings.dtype),
             runtime.description());
  fmt::print("forward {:.3f} ms{}; {:.3f} ms of it waiting for transfers of {:.3f} MiB, layout {}\n",
             figures.forward_ms, backward, figures.exposed_ms, static_cast<double>(figures.sent_bytes) / (1 << 20),
             name_of(settings.layout));
}

void attention(const MpiSession& session, const AttentionOptions& options) {
  const Communicator& world = session.world();
  Settings settings{};
  std::optional<OutputFile> output;  // on rank 0
  agree_on(world, [&] {
    settings = {dtype_from(options.dtype), device_for(options), layout_for(options)};
    if (world.rank() == 0) output.emplace(OutputRequest{options.output, "--output", output_kind(), {options.input}});
  });
  Runtime runtime(world, {.device = settings.device});
  std::optional<Hdf5File> input;
  AttentionProblem problem;
  agree_on(world, [&] {
    input.emplace(Hdf5File::open(options.input));
    problem = read_problem(*input, {.d_out = options.backward, .documents = options.documents, .ranks = world.size()});
  });

  agree_on(world, [&] {
    if (output) output->begin();
  });
  Hdf5File file = Hdf5File::create(world.broadcast(output ? output->partial().string() : ""), {.ranks = &world});
  file.write_attribute("/", "format", std::string(kFormat));
  file.write_attribute("/", "format_version", kVersion);
  Results results(file, problem, accumulator_of(settings.dtype), options.backward);
  const Figures figures = compute(runtime, options, settings, problem, *input, results);
  results.close();
  file.close();
  agree_on(world, [&] {
    if (output) output->commit();
  });
  if (world.rank() == 0) print(runtime, options, settings, problem, figures);
}

}  // namespace

void add_attention(Program& program) {
  auto options = std::make_shared<AttentionOptions>();
  CLI::App* command =
      add_command(program, program.app,
                  {"attention", "Run Ring Attention on tensors of your own.",
                   "mpirun -n 4 rondo attention --input qkv.h5 --output out.h5 --dtype fp64 --causal --backward"},
                  [options] {
                    return run_on_ranks([&](const MpiSession& session) {
                      attention(session, *options);
                      return 0;
                    });
                  });
  command
      ->add_option("--input", options->input, "HDF5: q [B,S,N,D], k and v [B,S,G,D]; d_out [B,S,N,D], document_offsets")
      ->required()
      ->type_name("FILE");
  command->add_option("--output", options->output, "HDF5: out [B,S,N,D], lse [B,N,S] (natural log); d_q, d_k, d_v")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--layout", options->layout,
                   "who owns which tokens: auto, contiguous, zigzag, striped or block_cyclic")
      ->capture_default_str()
      ->type_name("LAYOUT");
  command->add_option("--dtype", options->dtype, "what is computed with: fp64, fp32 or bf16")
      ->capture_default_str()
      ->type_name("TYPE");
  command->add_option("--device", options->device, "auto, cpu, cuda or reference")
      ->capture_default_str()
      ->type_name("DEVICE");
  command->add_flag("--causal", options->causal, "a query sees no later key");
  command->add_option("--window", options->window, "a query sees keys with 0 <= i - j < W; 0: no window")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->type_name("W");
  command->add_flag("--documents", options->documents, "a query sees its own document only, as document_offsets says");
  command->add_flag("--backward", options->backward, "also the gradients, given d_out");
  add_json_option(*command, options->json);
}

}  // namespace rondo
