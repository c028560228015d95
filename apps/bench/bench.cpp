// SPDX-License-Identifier: Apache-2.0
// `rondo bench`: the group of benchmarks; each case is a file in this folder.
#include "apps/bench/cases.hpp"
#include "apps/commands.hpp"

namespace rondo {

void add_bench(Program& program) {
  CLI::App* group = add_group(program, {"bench", "Time kernels, the ring and a training step.",
                                        "rondo bench attention --dtype bf16 --head-dim 64"});
  bench::add_attention(program, *group);
  bench::add_feed_forward(program, *group);
  bench::add_matmul(program, *group);
  bench::add_memory(program, *group);
  bench::add_ring(program, *group);
  bench::add_split(program, *group);
  bench::add_step(program, *group);
}

}  // namespace rondo
