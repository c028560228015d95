// SPDX-License-Identifier: Apache-2.0
// The cpu backend once for each instruction set that this processor has, beside the reference backend.
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/cpu/backend.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {

inline std::vector<cpu::Isa> isas_of_this_processor() {
  std::vector<cpu::Isa> isas;
  for (const cpu::Isa isa : {cpu::Isa::Portable, cpu::Isa::Avx2, cpu::Isa::Avx512, cpu::Isa::Amx}) {
    if (isa <= cpu::best_isa()) isas.push_back(isa);
  }
  return isas;
}

class CpuBackends : public testing::TestWithParam<cpu::Isa> {
 protected:
  std::unique_ptr<Backend> make_cpu(int threads) {
    return make_cpu_backend(cpu_device(), {.threads = threads, .isa_limit = GetParam()});
  }

  Host host;
  std::unique_ptr<Backend> cpu = make_cpu(2);
  std::unique_ptr<Backend> reference = make_reference_backend(cpu_device());
};

inline std::string name_of_isa(const testing::TestParamInfo<cpu::Isa>& info) {
  return std::string(cpu::name_of(info.param));
}

}  // namespace rondo::test
