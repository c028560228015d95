// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_reader.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "core/trace.hpp"
#include "io/atomic_file.hpp"
#include "io/checkpoint_files.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostRecordBytes = std::size_t{1} << 30;
constexpr const char* kAdvice = "Continue from another checkpoint of the run; remove this folder if it is of no use.";

}  // namespace

CheckpointRecord read_checkpoint_record(const fs::path& step_folder) {
  const fs::path path = step_folder / kCommitFile;
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {  // opening a pipe would block
    throw CheckpointError("there is no commit record, so this is not a checkpoint", path.string(), kAdvice);
  }
  CheckpointRecord record =
      CheckpointRecord::from_json(read_file(path, kMostRecordBytes, ErrorKind::Checkpoint), path.string());
  const fs::path state = step_folder / kStateFile;
  std::error_code problem;
  const auto num_bytes = fs::file_size(state, problem);
  if (problem) throw CheckpointError(problem.message(), state.string(), kAdvice);
  if (static_cast<std::int64_t>(num_bytes) != record.file_bytes) {
    throw CheckpointError(
        "the file has " + std::to_string(num_bytes) + " bytes, committed were " + std::to_string(record.file_bytes),
        state.string(), kAdvice);
  }
  return record;
}

CheckpointReader::CheckpointReader(const fs::path& step_folder)
    : folder_(step_folder),
      record_(read_checkpoint_record(step_folder)),
      file_(Hdf5File::open(step_folder / kStateFile, {.error_kind = ErrorKind::Checkpoint})) {
  std::vector<std::string> expected{kMetadataDataset};
  for (const CheckpointDataset& dataset : record_.datasets) expected.push_back(dataset.name);
  std::sort(expected.begin(), expected.end());
  if (file_.dataset_names() != expected) {
    throw CheckpointError("the file does not hold exactly the datasets of the commit record", file_.path().string(),
                          kAdvice);
  }
}

CheckpointReader CheckpointReader::open(const Communicator& ranks, const fs::path& step_folder) {
  std::optional<CheckpointReader> reader;
  agree_on(ranks, [&] { reader.emplace(step_folder); });
  return std::move(*reader);
}

std::string CheckpointReader::metadata() const {
  const Hdf5Dataset dataset = file_.open_dataset(kMetadataDataset);
  if (dataset.type() != Hdf5Type::UInt8 || dataset.extents() != std::vector<std::int64_t>{record_.metadata_bytes}) {
    throw CheckpointError("its type or size is not the committed one", dataset.where(), kAdvice);
  }
  const auto bytes = dataset.read_all<std::uint8_t>();
  std::string text(bytes.begin(), bytes.end());
  if (digest_of(text) != record_.metadata_digest) {
    throw CheckpointError("the content is not what was committed: another digest", dataset.where(), kAdvice);
  }
  return text;
}

Hdf5Dataset CheckpointReader::open_checked(const CheckpointDataset& expected) const {
  Hdf5Dataset dataset = file_.open_dataset(expected.name);
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < expected.shape.rank(); ++axis) extents.push_back(expected.shape[axis]);
  if (dataset.extents() != extents || dataset.type() != hdf5_type_of_tensor(expected.dtype)) {
    throw CheckpointError("its shape or type is not the committed one", dataset.where(), kAdvice);
  }
  return dataset;
}

void CheckpointReader::read_chunk(const Hdf5Dataset& dataset, const CheckpointDataset& expected, std::int64_t chunk,
                                  void* memory) const {
  const RowRange rows = rows_of_chunk(expected, chunk);
  const std::int64_t count = rows.count * expected.shape.row_count();
  dataset.read_rows(std::span(&rows, 1), memory, count, hdf5_type_of_tensor(expected.dtype));
  const Digest found = digest_of(memory, static_cast<std::size_t>(count) * size_of(expected.dtype));
  if (found != expected.chunks[static_cast<std::size_t>(chunk)]) {
    throw CheckpointError("rows " + std::to_string(rows.first) + " to " + std::to_string(rows.first + rows.count - 1) +
                              " are not what was committed: another digest",
                          dataset.where(), kAdvice);
  }
}

void CheckpointReader::read_rows(const NamedTensor& into) const {
  const CheckpointDataset* expected = record_.find(into.name);
  const std::string where = file_.path().string() + ":" + into.name;
  if (expected == nullptr) throw CheckpointError("the checkpoint has no tensor of this name", where, kAdvice);
  if (expected->shape != into.global_shape || expected->dtype != into.dtype) {
    throw CheckpointError("the checkpoint has " + std::string(name_of(expected->dtype)) + " " +
                              to_string(expected->shape) + ", the model needs " + std::string(name_of(into.dtype)) +
                              " " + to_string(into.global_shape),
                          where, "Use the configuration that the checkpoint was written with.");
  }
  const RowRange wanted = rows_of_tensor(into);
  if (wanted.count == 0) return;
  const Hdf5Dataset dataset = open_checked(*expected);
  const std::size_t row_bytes = static_cast<std::size_t>(into.global_shape.row_count()) * size_of(into.dtype);
  auto* to = static_cast<std::byte*>(into.rows.data);
  std::vector<std::byte> scratch;  // for chunks of which only a part is requested
  for (std::int64_t chunk = wanted.first / expected->chunk_rows();
       chunk * expected->chunk_rows() < wanted.first + wanted.count; ++chunk) {
    const RowRange rows = rows_of_chunk(*expected, chunk);
    const std::int64_t first = std::max(rows.first, wanted.first);
    const std::int64_t end = std::min(rows.first + rows.count, wanted.first + wanted.count);
    const auto read_part = [&](std::byte* at) {
      if (end - first == rows.count) return read_chunk(dataset, *expected, chunk, at);
      scratch.resize(static_cast<std::size_t>(rows.count) * row_bytes);
      read_chunk(dataset, *expected, chunk, scratch.data());
      std::memcpy(at, scratch.data() + static_cast<std::size_t>(first - rows.first) * row_bytes,
                  static_cast<std::size_t>(end - first) * row_bytes);
    };
    std::byte* at = to + static_cast<std::size_t>(first - wanted.first) * row_bytes;
    const std::size_t bytes = static_cast<std::size_t>(end - first) * row_bytes;
    into.access == nullptr ? read_part(at) : into.access->write(at, bytes, read_part);
  }
}

void CheckpointReader::read(const Communicator& ranks, std::span<const NamedTensor> into) const {
  const TraceScope trace("checkpoint_reader.read");
  agree_on(ranks, [&] {
    for (const NamedTensor& tensor : into) read_rows(tensor);
  });
}

void CheckpointReader::verify(const Communicator& ranks) const {
  const TraceScope trace("checkpoint_reader.verify");
  agree_on(ranks, [&] {
    if (ranks.rank() == 0) metadata();
    std::vector<std::byte> scratch;
    std::int64_t turn = 0;
    for (const CheckpointDataset& expected : record_.datasets) {
      const Hdf5Dataset dataset = open_checked(expected);
      const std::int64_t row_bytes = expected.shape.row_count() * static_cast<std::int64_t>(size_of(expected.dtype));
      scratch.resize(static_cast<std::size_t>(std::min(expected.chunk_rows(), expected.shape[0]) * row_bytes));
      for (std::int64_t chunk = 0; chunk < expected.num_chunks(); ++chunk) {
        if (turn++ % ranks.size() == ranks.rank()) read_chunk(dataset, expected, chunk, scratch.data());
      }
    }
  });
}

}  // namespace rondo
