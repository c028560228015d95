// SPDX-License-Identifier: Apache-2.0
// The inner kernels compiled for one instruction set (flags in CMakeLists.txt).
#include "kernels/cpu/attention_tiles.hpp"
#include "kernels/cpu/memory_tiles.hpp"
#include "kernels/cpu/row_kernels.hpp"
#include "kernels/cpu/vector_portable.hpp"

namespace rondo::cpu {

const KernelTable& portable_kernels() {
  static const KernelTable table{.name = "portable",
                                 .attention = AttentionTiles<Portable>::table(),
                                 .rows = Rows<Portable>::table(),
                                 .memory = MemoryTiles<Portable>::table()};
  return table;
}

}  // namespace rondo::cpu
