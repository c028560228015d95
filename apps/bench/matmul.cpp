// SPDX-License-Identifier: Apache-2.0
// `rondo bench matmul`: the backend's matrix product, plain row-major operands, against the peak.
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/bench/tensors.hpp"

namespace rondo::bench {

namespace {

struct MatmulOptions {
  RunOptions run;
  std::vector<std::string> dtypes{"fp32", "bf16"};
  std::vector<std::int64_t> m{512, 2048}, n{512, 2048}, k{512, 2048};
};

/// c = a b for random matrices, c in fp32.
struct Product {
  Product(Execution& where, DType dtype, std::int64_t m, std::int64_t n, std::int64_t k)
      : execution(where),
        a(where.device, dtype, {m, k}, MemoryUse::KeptActivations),
        b(where.device, dtype, {k, n}, MemoryUse::KeptActivations),
        c(where.device, accumulator_of(dtype), {m, n}, MemoryUse::KeptActivations) {}

  void fill() const {
    fill_random(execution, a.view(), 1);
    fill_random(execution, b.view(), 2);
  }
  void run() const { execution.backend.matmul(execution.compute, {.a = a.view(), .b = b.view(), .c = c.view()}); }

  Execution& execution;
  Buffer a, b, c;
};

std::string check_product(const Product& product) {
  Runtime specification(Communicator::self(), reference_options());
  Execution& reference = specification.execution();
  const Shape& a = product.a.view().shape;
  const std::int64_t m = a[0], n = product.b.view().shape[1], k = a[1];
  const Product plain(reference, product.a.view().dtype, m, n, k), exact(reference, DType::Fp64, m, n, k);
  plain.fill();
  reference.backend.convert(reference.compute, {.from = plain.a.view(), .to = exact.a.view()});
  reference.backend.convert(reference.compute, {.from = plain.b.view(), .to = exact.b.view()});
  plain.run();
  exact.run();
  return check_against(values_of(product.execution, product.c.view()), values_of(reference, plain.c.view()),
                       values_of(reference, exact.c.view()), product.c.view().dtype);
}

int run(const MatmulOptions& options) {
  if (options.m.size() != options.n.size() || options.m.size() != options.k.size()) {
    throw ConfigError("-m, -n and -k have different lengths", "rondo bench matmul",
                      "give one value of each per product");
  }
  Runtime runtime(Communicator::self(), machine_options(options.run));
  Execution& execution = runtime.execution();
  std::vector<Peak> peaks;
  std::vector<Result> results;
  for (const std::string& name : options.dtypes) {
    const Peak peak = measure_peak(runtime, dtype_from(name), options.run);
    peaks.push_back(peak);
    for (std::size_t i = 0; i < options.m.size(); ++i) {
      const std::int64_t m = options.m[i], n = options.n[i], k = options.k[i];
      const Product product(execution, peak.dtype, m, n, k);
      product.fill();
      const Timing timing = measure(execution, options.run, {[] {}, [&] { product.run(); }});
      results.push_back({.parameters = {{"dtype", name}, {"m", m}, {"n", n}, {"k", k}},
                         .formula = "2 m n k",
                         .flop = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
                         .timing = timing,
                         .peak_flops_per_s = peak.flops_per_s,
                         .checked = options.run.check ? check_product(product) : ""});
    }
  }
  report("matmul", options.run, runtime, peaks, results);
  return exit_code_of(results);
}

}  // namespace

void add_matmul(Program& program, CLI::App& group) {
  auto options = std::make_shared<MatmulOptions>();
  CLI::App* command = add_command(program, group,
                                  {"matmul", "Matrix products of the backend, fp32 results.",
                                   "rondo bench matmul --dtype bf16 -m 2048 -n 2048 -k 768"},
                                  [options] { return run(*options); });
  add_dtype_option(*command, options->dtypes);
  command->add_option("-m", options->m, "rows of the result, one for each product")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("-n", options->n, "columns of the result")->delimiter(',')->check(CLI::Range(1, 1 << 24));
  command->add_option("-k", options->k, "terms of each sum")->delimiter(',')->check(CLI::Range(1, 1 << 24));
  add_device_options(*command, options->run);
  add_run_options(*command, options->run);
  add_check_option(*command, options->run);
}

}  // namespace rondo::bench
