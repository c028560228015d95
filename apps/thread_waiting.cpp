// SPDX-License-Identifier: Apache-2.0
// How long idle threads spin before they sleep. By default the OpenMP runtime lets them spin for milliseconds, which on a
// machine with other work, or with more ranks than cores, takes the cores from threads that work: a step was ten times slower.
// A short spin costs nothing measurable on idle cores. The runtime reads its environment when it is loaded, before main and
// before constructors of this program, so this runs first. OMP_WAIT_POLICY and GOMP_SPINCOUNT of the user are respected.
#include <cstdlib>

namespace {

void let_idle_threads_sleep_soon(int, char**, char**) {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "10000", 0);  // about 30 us
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeAll)(int, char**,
                                                                       char**) = let_idle_threads_sleep_soon;

}  // namespace
