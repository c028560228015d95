// SPDX-License-Identifier: Apache-2.0
// at_isa LEVEL COMMAND...: runs a test as on an older processor, with RONDO_MAX_CPU_ISA set to LEVEL. Exits with 77, which
// ctest reports as skipped, if this processor is not above that level: the plain test already runs at its own level.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

#include "kernels/cpu/isa.hpp"

int main(int argc, char** argv) {
  const auto level = argc > 2 ? rondo::cpu::isa_named(argv[1]) : std::nullopt;
  if (!level) {
    std::fprintf(stderr, "usage: at_isa portable|avx2|avx512 COMMAND...\n");
    return 2;
  }
  if (rondo::cpu::best_isa() <= *level) {
    std::printf("skipped: this processor, or the limit set for it, is %s\n",
                std::string(name_of(rondo::cpu::best_isa())).c_str());
    return 77;
  }
  setenv("RONDO_MAX_CPU_ISA", argv[1], 1);
  execvp(argv[2], argv + 2);
  std::perror(argv[2]);
  return 1;
}
