// SPDX-License-Identifier: Apache-2.0
// The inner kernels compiled for one instruction set (flags in CMakeLists.txt).
#if defined(__x86_64__)
#include "kernels/cpu/attention_tiles.hpp"
#include "kernels/cpu/memory_tiles.hpp"
#include "kernels/cpu/row_kernels.hpp"
#include "kernels/cpu/vector_avx512.hpp"

namespace rondo::cpu {

const KernelTable& avx512_kernels() {
  static const KernelTable table{.name = "avx512",
                                 .attention = AttentionTiles<Avx512>::table(),
                                 .rows = Rows<Avx512>::table(),
                                 .memory = MemoryTiles<Avx512>::table()};
  return table;
}

}  // namespace rondo::cpu
#endif
