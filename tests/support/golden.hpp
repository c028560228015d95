// SPDX-License-Identifier: Apache-2.0
// Reads the golden files that tests/oracle/llama.py writes: named tensors in fp64 or int64.
#pragma once

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "tests/support/tensor.hpp"

namespace rondo::test {

/// Every tensor is returned as fp64; a scalar has one element and rank 0. Throws if the file is not valid.
inline std::map<std::string, Tensor> read_golden(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  ensure(std::getline(file, line) && line == "RONDO-GOLDEN 1", "a golden file opens and has its first line");
  std::map<std::string, Tensor> tensors;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name, kind;
    words >> name >> kind;
    Shape shape;
    std::int64_t dims[Shape::kMaxRank] = {}, rank = 0;
    while (rank < Shape::kMaxRank && words >> dims[rank]) ++rank;
    switch (rank) {
      case 0: break;
      case 1: shape = {dims[0]}; break;
      case 2: shape = {dims[0], dims[1]}; break;
      default: ensure(false, "golden tensors have at most two dimensions");
    }
    std::vector<double> values(static_cast<std::size_t>(shape.count()));
    for (double& value : values) {
      char bytes[8];
      ensure(static_cast<bool>(file.read(bytes, 8)), "a golden file is whole");
      std::int64_t integer = 0;
      std::memcpy(kind == "i8" ? static_cast<void*>(&integer) : static_cast<void*>(&value), bytes, 8);
      if (kind == "i8") value = static_cast<double>(integer);
    }
    tensors.emplace(name, Tensor(DType::Fp64, shape, values));
  }
  return tensors;
}

}  // namespace rondo::test
