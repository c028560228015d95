// SPDX-License-Identifier: Apache-2.0
// The inner kernels compiled for one instruction set (flags in CMakeLists.txt).
#if defined(__x86_64__)
#include "kernels/cpu/attention_tiles.hpp"
#include "kernels/cpu/memory_tiles.hpp"
#include "kernels/cpu/row_kernels.hpp"
#include "kernels/cpu/vector_avx2.hpp"

namespace rondo::cpu {

const KernelTable& avx2_kernels() {
  static const KernelTable table{.name = "avx2",
                                 .attention = AttentionTiles<Avx2>::table(),
                                 .rows = Rows<Avx2>::table(),
                                 .memory = MemoryTiles<Avx2>::table()};
  return table;
}

}  // namespace rondo::cpu
#endif
