// SPDX-License-Identifier: Apache-2.0
// Counts the large blocks that a test program allocates, in any library: our code, MPI, HDF5, oneDNN, the C++ library. Linking
// allocation_counter.cpp puts its malloc and mmap before those of the C library, for every library of the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rondo::test {

inline constexpr std::size_t kLargeBlockBytes = std::size_t{64} << 10;

/// Resets the counter. From now on the large blocks of all threads are counted and their stacks recorded.
void count_large_blocks();
std::uint64_t num_large_blocks();
/// Stacks of the counted large blocks, each with the number of its blocks and the size of the first; for failing tests.
std::string large_blocks_report();

}  // namespace rondo::test
