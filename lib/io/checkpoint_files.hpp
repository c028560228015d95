// SPDX-License-Identifier: Apache-2.0
// What the writer and the reader of checkpoints have in common: names of files and datasets, chunks and rows.
#pragma once

#include <algorithm>

#include "io/checkpoint_record.hpp"
#include "io/checkpoint_store.hpp"
#include "io/hdf5_dataset.hpp"

namespace rondo {

inline constexpr const char* kMetadataDataset = "metadata";

/// @pre not bf16: checkpoints hold the masters
inline Hdf5Type hdf5_type_of_tensor(DType dtype) {
  ensure(dtype != DType::Bf16, "checkpoints hold fp32 or fp64 masters, never bf16");
  switch (dtype) {
    case DType::Fp64: return Hdf5Type::Fp64;
    case DType::Int32: return Hdf5Type::Int32;
    case DType::Int64: return Hdf5Type::Int64;
    case DType::Fp32:
    case DType::Bf16: break;
  }
  return Hdf5Type::Fp32;
}

inline RowRange rows_of_chunk(const CheckpointDataset& dataset, std::int64_t chunk) {
  const std::int64_t first = chunk * dataset.chunk_rows();
  return {first, std::min(dataset.chunk_rows(), dataset.shape[0] - first)};
}

/// The rows that this rank holds, checked against the tensor's shape.
inline RowRange rows_of_tensor(const NamedTensor& tensor) {
  if (!tensor.rows) return {0, 0};
  ensure(tensor.rows.dtype == tensor.dtype && tensor.rows.shape.rank() == tensor.global_shape.rank(),
         "the rows of a named tensor have its type and number of dimensions");
  for (int axis = 1; axis < tensor.global_shape.rank(); ++axis) {
    ensure(tensor.rows.shape[axis] == tensor.global_shape[axis], "the rows of a named tensor have its row shape");
  }
  const RowRange rows{tensor.first_row, tensor.rows.shape[0]};
  ensure(rows.first >= 0 && rows.first + rows.count <= tensor.global_shape[0], "the rows lie in their tensor");
  return rows;
}

}  // namespace rondo
