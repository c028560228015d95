// SPDX-License-Identifier: Apache-2.0
// `rondo bench matmul`: the backend's matrix product, plain row-major operands, against packed square products.
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "kernels/cpu/backend.hpp"
#include "kernels/reference/backend.hpp"

namespace rondo::bench {

namespace {

struct MatmulOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32", "bf16"};
  std::vector<std::int64_t> m{512, 2048}, n{512, 2048}, k{512, 2048};
};

std::string check_product(Backend& backend, CpuDevice& device, Stream& stream, const MatmulArgs& args) {
  const auto reference = make_reference_backend(device);
  const auto converted = [&](const TensorView& view, DType type) {
    Buffer copy(device, type, view.shape, MemoryUse::Workspace);
    reference->convert(stream, {.from = view, .to = copy.view()});
    return copy;
  };
  const Buffer a = converted(args.a, DType::Fp64), b = converted(args.b, DType::Fp64);
  const Buffer exact(device, DType::Fp64, args.c.shape, MemoryUse::Workspace);
  const Buffer plain(device, args.c.dtype, args.c.shape, MemoryUse::Workspace);
  reference->matmul(stream, {.a = a.view(), .b = b.view(), .c = exact.view()});
  reference->matmul(stream, {.a = args.a, .b = args.b, .c = plain.view()});
  backend.matmul(stream, args);
  return check_against(args.c, plain.view(), exact.view());
}

int run(const MatmulOptions& options) {
  const int threads = threads_of(options.run);
  if (options.m.size() != options.n.size() || options.m.size() != options.k.size()) {
    throw ConfigError("-m, -n and -k have different lengths", "rondo bench matmul",
                      "give one value of each per product");
  }
  CpuDevice device;
  const auto stream = device.make_stream(StreamRole::Compute);
  const auto backend = make_cpu_backend(device, {.threads = threads, .isa_limit = cpu::Isa::Amx});
  std::vector<std::pair<DType, Peak>> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    const DType dtype = dtype_from(name);
    const Peak& peak = peaks.emplace_back(dtype, measure_peak(dtype, threads)).second;
    for (std::size_t i = 0; i < options.m.size(); ++i) {
      const std::int64_t m = options.m[i], n = options.n[i], k = options.k[i];
      const Buffer a(device, dtype, {m, k}, MemoryUse::Workspace), b(device, dtype, {k, n}, MemoryUse::Workspace);
      const Buffer c(device, DType::Fp32, {m, n}, MemoryUse::Workspace);
      fill_random(a.view(), 1);
      fill_random(b.view(), 2);
      const MatmulArgs args{.a = a.view(), .b = b.view(), .c = c.view()};
      const Timing timing = measure(
          options.run, [] {}, [&] { backend->matmul(*stream, args); });
      results.push_back({.parameters = {{"dtype", name}, {"m", m}, {"n", n}, {"k", k}},
                         .formula = "2 m n k",
                         .flop = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
                         .timing = timing,
                         .peak_flops_per_s = peak.flops_per_s,
                         .checked = options.run.check ? check_product(*backend, device, *stream, args) : ""});
    }
  }
  report("matmul", options.run, threads, backend->name(), peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_matmul(Program& program, CLI::App& group) {
  auto options = std::make_shared<MatmulOptions>();
  CLI::App* command = add_command(program, group,
                                  {"matmul", "Matrix products of the backend, fp32 results.",
                                   "rondo bench matmul --dtype bf16 -m 2048 -n 2048 -k 768"},
                                  [options] { return run(*options); });
  command->add_option("--dtype", options->dtypes, "fp32, bf16 or both")->delimiter(',')->type_name("TYPE");
  command->add_option("-m", options->m, "rows of the result, one for each product")->delimiter(',');
  command->add_option("-n", options->n, "columns of the result")->delimiter(',');
  command->add_option("-k", options->k, "terms of each sum")->delimiter(',');
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
