// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_writer.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "core/log.hpp"
#include "io/atomic_file.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_space.hpp"
#include "io/hdf5_file.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kChunksPerRun = 8;  // bounds HDF5's memory for checksummed chunks in flight

std::string bytes_of(std::span<const std::int64_t> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

/// The rows of each tensor that each rank holds, as [rank][tensor].
std::vector<std::vector<RowRange>> gather_rows(const Communicator& ranks, std::span<const NamedTensor> tensors) {
  std::vector<std::int64_t> mine;
  for (const NamedTensor& tensor : tensors) {
    const RowRange rows = rows_of_tensor(tensor);
    mine.insert(mine.end(), {rows.first, rows.count});
  }
  std::vector<std::vector<RowRange>> all;
  for (const std::string& bytes : ranks.all_gather(bytes_of(mine))) {
    ensure(bytes.size() == 16 * tensors.size(), "all ranks write the same tensors");
    std::vector<RowRange> rows(tensors.size());
    for (std::size_t index = 0; index < rows.size(); ++index) {
      std::int64_t pair[2];
      std::memcpy(pair, bytes.data() + 16 * index, sizeof(pair));
      rows[index] = {pair[0], pair[1]};
    }
    all.push_back(std::move(rows));
  }
  return all;
}

/// The ranks that hold the whole chunk.
std::vector<int> owners_of(const RowRange& chunk, const std::vector<std::vector<RowRange>>& rows, std::size_t tensor) {
  std::vector<int> owners;
  for (std::size_t rank = 0; rank < rows.size(); ++rank) {
    const RowRange& held = rows[rank][tensor];
    if (held.first <= chunk.first && chunk.first + chunk.count <= held.first + held.count) {
      owners.push_back(static_cast<int>(rank));
    }
  }
  return owners;
}

std::vector<ChunkRun> share_out(const CheckpointDataset& dataset, const std::vector<std::vector<RowRange>>& rows,
                                std::size_t tensor, std::size_t& turn) {
  std::vector<ChunkRun> runs;
  std::vector<int> owners_of_run;
  for (std::int64_t chunk = 0; chunk < dataset.num_chunks(); ++chunk) {
    std::vector<int> owners = owners_of(rows_of_chunk(dataset, chunk), rows, tensor);
    ensure(!owners.empty(), "every chunk of '" + dataset.name + "' is owned in full by some rank");
    if (runs.empty() || runs.back().num_chunks == kChunksPerRun || owners != owners_of_run) {
      runs.push_back({chunk, 0, owners[turn++ % owners.size()]});
      owners_of_run = std::move(owners);
    }
    ++runs.back().num_chunks;
  }
  return runs;
}

/// Rows that this rank holds, in host memory; valid until the next call. @pre rows.count > 0
const std::byte* host_rows(const NamedTensor& tensor, const RowRange& rows) {
  const TensorView wanted = tensor.rows.rows(rows.first - tensor.first_row, rows.count);
  if (tensor.access != nullptr) return tensor.access->read(wanted.data, wanted.size_bytes());
  return static_cast<const std::byte*>(wanted.data);
}

/// Computes the digests of the chunks that this rank writes, and all-gathers them in the order of the plan.
void fill_digests(const Communicator& ranks, std::span<const NamedTensor> tensors, CheckpointPlan& plan) {
  std::string mine;
  const auto for_each_chunk = [&](const std::function<void(std::size_t, std::int64_t, int)>& visit) {
    for (std::size_t index = 0; index < tensors.size(); ++index) {
      for (const ChunkRun& run : plan.runs[index]) {
        for (std::int64_t n = 0; n < run.num_chunks; ++n) visit(index, run.first_chunk + n, run.writer);
      }
    }
  };
  for_each_chunk([&](std::size_t index, std::int64_t chunk, int writer) {
    if (writer != ranks.rank()) return;
    const RowRange rows = rows_of_chunk(plan.datasets[index], chunk);
    const std::int64_t count = rows.count * tensors[index].global_shape.row_count();
    const Digest digest =
        digest_of(host_rows(tensors[index], rows), static_cast<std::size_t>(count) * size_of(tensors[index].dtype));
    mine.append(reinterpret_cast<const char*>(&digest), sizeof(digest));
  });
  const std::vector<std::string> all = ranks.all_gather(mine);
  std::vector<std::size_t> next(all.size(), 0);
  for_each_chunk([&](std::size_t index, std::int64_t, int writer) {
    const auto rank = static_cast<std::size_t>(writer);
    Digest digest;
    ensure(next[rank] + sizeof(digest) <= all[rank].size(), "every rank brings the digests of its chunks");
    std::memcpy(&digest, all[rank].data() + next[rank], sizeof(digest));
    next[rank] += sizeof(digest);
    plan.datasets[index].chunks.push_back(digest);
  });
}

/// A file that all ranks write together.
struct SharedFile {
  const Communicator& ranks;
  const std::filesystem::path& path;

  /// Runs one collective HDF5 call; all ranks agree on its outcome before the next call. After an agreed failure, writes go to
  /// memory instead of the disk that failed, since HDF5 cannot recover from a failed close. After an error of this rank alone
  /// nothing is closed, because closing is collective.
  void together(const std::function<void()>& call) const {
    std::optional<Error> mine;
    try {
      call();
    } catch (const std::exception&) {
      mine = error_at_hand();
    }
    try {
      agree_or_leave(ranks, mine);
    } catch (const AgreedError&) {
      divert_writes_to_memory(path);
      throw;
    } catch (const Error&) {
      leave_hdf5_open();
      throw;
    }
  }
};

void write_tensor(const SharedFile& shared, Hdf5File& file, const NamedTensor& tensor, const CheckpointDataset& dataset,
                  std::span<const ChunkRun> runs) {
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < dataset.shape.rank(); ++axis) extents.push_back(dataset.shape[axis]);
  const Hdf5Type type = hdf5_type_of_tensor(dataset.dtype);
  std::optional<Hdf5Dataset> target;
  shared.together(
      [&] { target = file.create_dataset(dataset.name, type, extents, {.chunk_rows = dataset.chunk_rows()}); });
  std::vector<std::size_t> turns(static_cast<std::size_t>(shared.ranks.size()), 0);
  std::vector<ChunkRun> mine;
  for (const ChunkRun& run : runs) {
    ++turns[static_cast<std::size_t>(run.writer)];
    if (run.writer == shared.ranks.rank()) mine.push_back(run);
  }
  const std::size_t num_turns = *std::max_element(turns.begin(), turns.end());
  for (std::size_t turn = 0; turn < num_turns; ++turn) {
    RowRange rows;
    if (turn < mine.size()) {
      rows.first = rows_of_chunk(dataset, mine[turn].first_chunk).first;
      const RowRange last = rows_of_chunk(dataset, mine[turn].first_chunk + mine[turn].num_chunks - 1);
      rows.count = last.first + last.count - rows.first;
    }
    shared.together([&] {
      target->write_rows(std::span(&rows, 1), rows.count == 0 ? nullptr : host_rows(tensor, rows),
                         rows.count * dataset.shape.row_count(), type);
    });
  }
  shared.together([&] {
    target->flush();
    target->close();
  });
}

}  // namespace

CheckpointPlan plan_checkpoint(const Communicator& ranks, std::span<const NamedTensor> tensors) {
  const auto rows = gather_rows(ranks, tensors);
  CheckpointPlan plan;
  std::size_t turn = 0;
  for (std::size_t index = 0; index < tensors.size(); ++index) {
    const NamedTensor& tensor = tensors[index];
    ensure(is_tensor_name(tensor.name), "tensor names can be used in files");
    ensure(tensor.global_shape.rank() >= 1 && tensor.global_shape.count() > 0, "stored tensors are not empty");
    CheckpointDataset dataset;
    dataset.name = tensor.name;
    dataset.shape = tensor.global_shape;
    dataset.dtype = tensor.dtype;
    plan.runs.push_back(share_out(dataset, rows, index, turn));
    plan.datasets.push_back(std::move(dataset));
  }
  fill_digests(ranks, tensors, plan);
  return plan;
}

void write_checkpoint_file(const Communicator& ranks, const std::filesystem::path& path, const CheckpointPlan& plan,
                           std::span<const NamedTensor> tensors, const std::string& metadata) {
  const SharedFile shared{ranks, path};
  std::optional<Hdf5File> file;
  shared.together([&] { file = Hdf5File::create(path, {.error_kind = ErrorKind::Checkpoint, .ranks = &ranks}); });
  shared.together([&] {
    if (ranks.rank() != 0) return;
    reserve_space(path, checkpoint_bytes_needed(plan.datasets, static_cast<std::int64_t>(metadata.size())));
  });
  shared.together([&] { file->write_text(kMetadataDataset, metadata); });
  for (std::size_t index = 0; index < tensors.size(); ++index) {
    write_tensor(shared, *file, tensors[index], plan.datasets[index], plan.runs[index]);
  }
  shared.together([&] { file->flush(); });
  shared.together([&] { file->close(); });
  agree_on(ranks, [&] {
    if (ranks.rank() == 0) release_reserved_space(path);
  });
  agree_on(ranks, [&] { sync_file(path, ErrorKind::Checkpoint); });
}

}  // namespace rondo
