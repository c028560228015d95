// SPDX-License-Identifier: Apache-2.0
// Lists of numbers for transport tests, and copies of them to a device and back.
#pragma once

#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/random.hpp"

namespace rondo::test {

/// Values whose sum rounds differently in every order, and that are quick to generate.
inline std::vector<float> uneven_values(std::string_view name, int rank, std::int64_t count) {
  std::uint64_t state = stream_of(name) + static_cast<std::uint64_t>(rank);
  std::vector<float> list(static_cast<std::size_t>(count));
  for (float& value : list) {
    state = 6364136223846793005U * state + 1442695040888963407U;
    value = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-24F;
  }
  return list;
}

inline Buffer upload(Device& device, Stream& stream, const std::vector<float>& list) {
  Buffer buffer(device, DType::Fp32, {static_cast<std::int64_t>(list.size())}, MemoryUse::Workspace);
  device.copy(stream, buffer.data(), list.data(), buffer.size_bytes());
  return buffer;
}

inline std::vector<float> download(Device& device, Stream& stream, const Buffer& buffer) {
  std::vector<float> list(buffer.size_bytes() / sizeof(float));
  device.copy(stream, list.data(), buffer.data(), buffer.size_bytes());
  device.synchronize(stream);
  return list;
}

}  // namespace rondo::test
