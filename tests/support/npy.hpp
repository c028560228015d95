// SPDX-License-Identifier: Apache-2.0
// Tensors of fp64 and int64 as .npy files (format 1.0, little-endian, C order), to exchange them with NumPy.
#pragma once

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/tensor.hpp"

namespace rondo::test {

inline void write_npy(const std::string& path, const Tensor& tensor) {
  ensure(tensor.dtype() == DType::Fp64 || tensor.dtype() == DType::Int64, "an .npy file here holds fp64 or int64");
  std::string shape;
  for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape += std::to_string(tensor.shape()[axis]) + ", ";
  std::string header = std::string("{'descr': '") + (tensor.dtype() == DType::Fp64 ? "<f8" : "<i8") +
                       "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 64) / 64 * 64 - 10, ' ');  // the data starts at a multiple of 64 bytes
  header.back() = '\n';
  const auto length = static_cast<std::uint16_t>(header.size());
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.write(reinterpret_cast<const char*>(&length), 2);
  file << header;
  file.write(static_cast<const char*>(tensor.view().data), static_cast<std::streamsize>(tensor.view().size_bytes()));
  ensure(file.good(), "an .npy file is written");
}

/// @pre the file holds fp64 in C order of the given shape
inline Tensor read_npy(const std::string& path, const Shape& shape) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  Tensor tensor(DType::Fp64, shape);
  ensure(bytes.size() > 10 && bytes.find("'<f8'") != std::string::npos, "an .npy file here is read as fp64");
  std::uint16_t length = 0;
  std::memcpy(&length, bytes.data() + 8, 2);
  ensure(bytes.size() == 10 + std::size_t{length} + tensor.view().size_bytes(), "an .npy file has the expected size");
  std::memcpy(tensor.view().data, bytes.data() + 10 + length, tensor.view().size_bytes());
  return tensor;
}

}  // namespace rondo::test
