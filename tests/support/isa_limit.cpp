// SPDX-License-Identifier: Apache-2.0
// Every test program respects RONDO_MAX_CPU_ISA as the program does: it uses no instruction set above that level. This runs
// before the constructors of the tests, some of which query the processor.
#include <cstdio>
#include <cstdlib>

#include "kernels/cpu/isa.hpp"

namespace {

[[gnu::constructor(101)]] void limit_instruction_set() {
  const char* name = std::getenv("RONDO_MAX_CPU_ISA");
  if (name == nullptr) return;
  const auto isa = rondo::cpu::isa_named(name);
  if (!isa) {
    std::fprintf(stderr, "RONDO_MAX_CPU_ISA: there is no instruction set '%s'\n", name);
    std::_Exit(2);
  }
  rondo::cpu::limit_isa(*isa);
}

}  // namespace
