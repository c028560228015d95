// SPDX-License-Identifier: Apache-2.0
// The commit record of a checkpoint, commit.json: what the files must hold for the checkpoint to be valid. Knows JSON and
// digests, not HDF5.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.hpp"
#include "core/tensor_view.hpp"
#include "io/digest.hpp"

namespace rondo {

inline constexpr const char* kStateFile = "state.h5";
inline constexpr const char* kCommitFile = "commit.json";

/// Rows per chunk of a tensor's dataset: whole rows, about 1 MiB; depends only on the tensor. A rank that owns part of a tensor
/// must own whole chunks.
std::int64_t checkpoint_chunk_rows(const Shape& shape, DType dtype);

struct CheckpointDataset {
  std::string name;
  Shape shape;
  DType dtype = DType::Fp32;
  std::vector<Digest> chunks;  // digests of each chunk's bytes in memory, in order

  std::int64_t chunk_rows() const { return checkpoint_chunk_rows(shape, dtype); }
  std::int64_t num_chunks() const { return (shape[0] + chunk_rows() - 1) / chunk_rows(); }
  std::int64_t num_bytes() const { return shape.count() * static_cast<std::int64_t>(size_of(dtype)); }
  Digest digest() const { return digest_of_parts(chunks); }
};

struct CheckpointRecord {
  std::int64_t step = 0;
  std::int64_t file_bytes = 0;  // size of state.h5
  std::int64_t metadata_bytes = 0;
  Digest metadata_digest;
  std::vector<CheckpointDataset> datasets;

  const CheckpointDataset* find(std::string_view name) const;
  /// One digest of all tensors: names, types, shapes and values, without the metadata.
  Digest tensors_digest() const;
  std::int64_t tensor_bytes() const;

  std::string to_json() const;
  /// Checks the record's own digest and that its contents are consistent. @throws CheckpointError that names `where`
  static CheckpointRecord from_json(const std::string& text, const std::string& where);
};

/// Whether a tensor's name can be used in the file: letters, digits and "_-./", without empty parts, "." or "..".
bool is_tensor_name(std::string_view name);

}  // namespace rondo
