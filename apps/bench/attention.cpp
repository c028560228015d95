// SPDX-License-Identifier: Apache-2.0
// `rondo bench attention`: the fused attention kernels, forward and backward, one block of the whole sequence.
#include <algorithm>
#include <limits>
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "kernels/cpu/backend.hpp"
#include "kernels/reference/backend.hpp"

namespace rondo::bench {

namespace {

struct AttentionOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32", "bf16"};
  std::vector<std::int64_t> head_dims{64, 128};
  std::int64_t tokens = 8192, heads = 4, kv_heads = 0;
  bool full = false;
};

/// All tensors of one attention block, in one storage type.
struct Block {
  Block(Device& device, DType dtype, std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads, std::int64_t dim)
      : q(device, dtype, {tokens, heads, dim}, MemoryUse::Workspace),
        k(device, dtype, {tokens, kv_heads, dim}, MemoryUse::Workspace),
        v(device, dtype, {tokens, kv_heads, dim}, MemoryUse::Workspace),
        d_out(device, dtype, {tokens, heads, dim}, MemoryUse::Workspace),
        out(device, accumulator_of(dtype), {tokens, heads, dim}, MemoryUse::Workspace),
        lse(device, accumulator_of(dtype), {heads, tokens}, MemoryUse::Workspace),
        delta(device, accumulator_of(dtype), {heads, tokens}, MemoryUse::Workspace),
        d_q(device, accumulator_of(dtype), {tokens, heads, dim}, MemoryUse::Workspace),
        d_k(device, accumulator_of(dtype), {tokens, kv_heads, dim}, MemoryUse::Workspace),
        d_v(device, accumulator_of(dtype), {tokens, kv_heads, dim}, MemoryUse::Workspace),
        runs(TokenRuns::contiguous(0, tokens)),
        scratch(device, MemoryUse::Workspace),
        stream(device.make_stream(StreamRole::Compute)) {}

  void fill() {
    std::uint64_t seed = 1;
    for (const Buffer* input : {&q, &k, &v, &d_out}) fill_random(input->view(), seed++);
  }
  void clear_carry() {
    const auto clear = [this]<typename T>(T) {
      std::ranges::fill(out.view().span<T>(), T{0});
      std::ranges::fill(lse.view().span<T>(), -std::numeric_limits<T>::infinity());
    };
    out.view().dtype == DType::Fp64 ? clear(double{}) : clear(float{});
  }
  void clear_gradients() {
    for (const Buffer* sum : {&d_q, &d_k, &d_v}) std::fill_n(static_cast<char*>(sum->data()), sum->size_bytes(), 0);
  }
  void forward(Backend& backend, const AttentionMask& mask, double scale) {
    backend.block_attention_forward(*stream, {.q = q.view(),
                                              .k = k.view(),
                                              .v = v.view(),
                                              .query_runs = runs,
                                              .key_runs = runs,
                                              .mask = mask.view(),
                                              .scale = scale,
                                              .carry = {.out = out.view(), .lse = lse.view()},
                                              .scratch = scratch});
  }
  void backward(Backend& backend, const AttentionMask& mask, double scale) {
    backend.block_attention_backward(*stream, {.q = q.view(),
                                               .k = k.view(),
                                               .v = v.view(),
                                               .d_out = d_out.view(),
                                               .lse = lse.view(),
                                               .delta = delta.view(),
                                               .query_runs = runs,
                                               .key_runs = runs,
                                               .mask = mask.view(),
                                               .scale = scale,
                                               .d_q = d_q.view(),
                                               .d_k = d_k.view(),
                                               .d_v = d_v.view(),
                                               .scratch = scratch});
  }
  void all(Backend& backend, const AttentionMask& mask, double scale) {
    clear_carry();
    clear_gradients();
    forward(backend, mask, scale);
    backend.attention_delta(*stream, {.out = out.view(), .d_out = d_out.view(), .delta = delta.view()});
    backward(backend, mask, scale);
  }

  Buffer q, k, v, d_out, out, lse, delta, d_q, d_k, d_v;
  TokenRuns runs;
  Arena scratch;
  std::unique_ptr<Stream> stream;
};

double scale_of(std::int64_t dim) { return 1 / std::sqrt(static_cast<double>(dim)); }

/// On at most 512 tokens, since the reference is slow.
std::string check_attention(Backend& backend, CpuDevice& device, DType dtype, const AttentionOptions& options,
                            std::int64_t kv_heads, std::int64_t dim) {
  const std::int64_t tokens = std::min<std::int64_t>(options.tokens, 512);
  const auto reference = make_reference_backend(device);
  Block result(device, dtype, tokens, options.heads, kv_heads, dim),
      plain(device, dtype, tokens, options.heads, kv_heads, dim);
  Block exact(device, DType::Fp64, tokens, options.heads, kv_heads, dim);
  result.fill();
  plain.fill();
  const AttentionMask mask({.causal = !options.full}, tokens);
  for (const auto input : {&Block::q, &Block::k, &Block::v, &Block::d_out}) {
    reference->convert(*exact.stream, {.from = (plain.*input).view(), .to = (exact.*input).view()});
  }
  result.all(backend, mask, scale_of(dim));
  plain.all(*reference, mask, scale_of(dim));
  exact.all(*reference, mask, scale_of(dim));
  for (const auto output : {&Block::out, &Block::lse, &Block::d_q, &Block::d_k, &Block::d_v}) {
    const std::string verdict = check_against((result.*output).view(), (plain.*output).view(), (exact.*output).view());
    if (verdict != "right") return verdict;
  }
  return "right";
}

int run(const AttentionOptions& options) {
  const int threads = threads_of(options.run);
  const std::int64_t kv_heads = checked_kv_heads(options.heads, options.kv_heads);
  CpuDevice device;
  const auto backend = make_cpu_backend(device, {.threads = threads, .isa_limit = cpu::Isa::Amx});
  const AttentionMask mask({.causal = !options.full}, options.tokens);
  std::vector<std::pair<DType, Peak>> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    const DType dtype = dtype_from(name);
    const Peak peak = peaks.emplace_back(dtype, measure_peak(dtype, threads)).second;
    for (const std::int64_t dim : options.head_dims) {
      Block block(device, dtype, options.tokens, options.heads, kv_heads, dim);
      block.fill();
      block.all(*backend, mask, scale_of(dim));
      const std::string checked =
          options.run.check ? check_attention(*backend, device, dtype, options, kv_heads, dim) : "";
      const auto tokens = static_cast<double>(options.tokens);
      const double flop = 4 * tokens * tokens * static_cast<double>(options.heads * dim) / (options.full ? 1 : 2);
      const auto add = [&](const char* pass, double factor, const Timing& timing) {
        results.push_back({.parameters = {{"dtype", name},
                                          {"head_dim", dim},
                                          {"tokens", options.tokens},
                                          {"heads", options.heads},
                                          {"kv_heads", kv_heads},
                                          {"causal", !options.full},
                                          {"pass", pass}},
                           .formula = std::string("forward 4 T U N D") + (options.full ? "" : " / 2 (causal)") +
                                      ", backward 2.5 times that",
                           .flop = factor * flop,
                           .timing = timing,
                           .peak_flops_per_s = peak.flops_per_s,
                           .checked = checked});
      };
      add("forward", 1,
          measure(
              options.run, [&] { block.clear_carry(); }, [&] { block.forward(*backend, mask, scale_of(dim)); }));
      add("backward", 2.5,
          measure(
              options.run, [&] { block.clear_gradients(); }, [&] { block.backward(*backend, mask, scale_of(dim)); }));
    }
  }
  report("attention", options.run, threads, backend->name(), peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_attention(Program& program, CLI::App& group) {
  auto options = std::make_shared<AttentionOptions>();
  CLI::App* command = add_command(program, group,
                                  {"attention", "The fused attention kernels, forward and backward.",
                                   "rondo bench attention --dtype bf16 --head-dim 64,128 --tokens 8192"},
                                  [options] { return run(*options); });
  command->add_option("--dtype", options->dtypes, "fp32, bf16 or both")->delimiter(',')->type_name("TYPE");
  command->add_option("--head-dim", options->head_dims, "dimensions of a head")->delimiter(',')->type_name("D");
  command->add_option("--tokens", options->tokens, "queries and keys")->check(CLI::Range(1, 1 << 24));
  command->add_option("--heads", options->heads, "query heads")->check(CLI::Range(1, 1024));
  command->add_option("--kv-heads", options->kv_heads, "key/value heads, as many as heads if not given")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--full", options->full, "without a causal mask");
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
