// SPDX-License-Identifier: Apache-2.0
// Counts the large blocks that a test program asks for, whoever asks: our code, MPI, HDF5, oneDNN, the C++ library. Linking
// allocation_counter.cpp puts its malloc and mmap before those of the C library, for every library of the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rondo::test {

inline constexpr std::size_t kLargeBlockBytes = std::size_t{64} << 10;

/// Forgets what was counted. From now on large blocks of all threads are counted and their stacks remembered.
void count_large_blocks();
std::uint64_t num_large_blocks();
/// Sizes and stacks of the large blocks counted, the first ones of each stack; for a failing test.
std::string large_blocks_report();

}  // namespace rondo::test
