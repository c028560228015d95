// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_store.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fcntl.h>

#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/atomic_file.hpp"
#include "io/checkpoint_files.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_space.hpp"
#include "io/checkpoint_writer.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";

std::optional<std::int64_t> step_of(const std::string& folder_name) {
  if (!folder_name.starts_with(kStepPrefix)) return std::nullopt;
  const std::string digits = folder_name.substr(kStepPrefix.size());
  std::int64_t step = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (status != std::errc() || end != digits.data() + digits.size() || step < 0 || std::to_string(step) != digits) {
    return std::nullopt;
  }
  return step;
}

void make_folder(const fs::path& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) throw CheckpointError("cannot be made: " + problem.message(), folder.string());
}

void remove_folder(const fs::path& folder) {
  std::error_code problem;
  fs::remove_all(folder, problem);
  if (problem) throw CheckpointError("cannot be removed: " + problem.message(), folder.string());
}

/// The record, or nothing if there is no valid one.
std::optional<CheckpointRecord> record_if_valid(const fs::path& step_folder) {
  try {
    return read_checkpoint_record(step_folder);
  } catch (const CheckpointError&) {
    return std::nullopt;
  }
}

/// Renames `partial` to `final`, which commits the checkpoint.
void commit_folder(const fs::path& partial, const fs::path& final) {
  sync_folder(partial, ErrorKind::Checkpoint);
  if (fs::exists(final)) {
    // Another state of this step, or a broken one, is in the way: exchange the two, so that one of them always exists.
    if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, final.c_str(), RENAME_EXCHANGE) == 0) {
      sync_folder(final.parent_path(), ErrorKind::Checkpoint);
      remove_folder(partial);
      return;
    }
    if (record_if_valid(final)) {
      throw CheckpointError("another checkpoint of this step exists, and this file system cannot exchange the two",
                            final.string(), "Move it away, then continue.");
    }
    remove_folder(final);
  }
  if (std::rename(partial.c_str(), final.c_str()) != 0) throw_errno(ErrorKind::Checkpoint, "rename", final, errno);
  sync_folder(final.parent_path(), ErrorKind::Checkpoint);
}

}  // namespace

bool is_checkpoint_folder(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / kCommitFile, ignored) || fs::exists(folder / kStateFile, ignored);
}

fs::path CheckpointStore::step_folder(std::int64_t step) const {
  return folder_ / (std::string(kStepPrefix) + std::to_string(step));
}

std::vector<std::int64_t> CheckpointStore::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(folder_, problem)) {
    std::error_code ignored;
    const auto step = step_of(entry.path().filename().string());
    if (step && entry.is_directory(ignored)) steps.push_back(*step);
  }
  if (problem && problem != std::errc::no_such_file_or_directory) {
    throw CheckpointError("cannot be listed: " + problem.message(), folder_.string());
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

void CheckpointStore::require_room(const Communicator& ranks, std::span<const NamedTensor> tensors,
                                   const std::string& metadata) const {
  std::vector<CheckpointDataset> datasets;
  for (const NamedTensor& tensor : tensors) {
    datasets.push_back({.name = tensor.name, .shape = tensor.global_shape, .dtype = tensor.dtype, .chunks = {}});
  }
  const std::int64_t needed_bytes = checkpoint_bytes_needed(datasets, static_cast<std::int64_t>(metadata.size()));
  agree_on(ranks, [&] {
    demand_file_size(folder_, needed_bytes);
    if (ranks.rank() != 0) return;
    make_folder(folder_);
    demand_free_space(folder_, needed_bytes);
    // A name that remove_leftovers() removes if the process is killed here.
    const fs::path probe = step_folder(0).string() + std::string(kPartialSuffix);
    remove_folder(probe);
    make_folder(probe);
    write_new_file(probe / kCommitFile, "can this be written?", ErrorKind::Checkpoint);
    remove_folder(probe);
  });
}

void CheckpointStore::write(const Communicator& ranks, std::int64_t step, std::span<const NamedTensor> tensors,
                            const std::string& metadata) const {
  const TraceScope trace("checkpoint_store.write");
  const fs::path final = step_folder(step), partial = final.string() + std::string(kPartialSuffix);
  const CheckpointPlan plan = plan_checkpoint(ranks, tensors);
  CheckpointRecord record;
  record.step = step;
  record.metadata_bytes = static_cast<std::int64_t>(metadata.size());
  record.metadata_digest = digest_of(metadata);
  record.datasets = plan.datasets;

  bool already_there = false;
  const std::int64_t needed_bytes = checkpoint_bytes_needed(plan.datasets, record.metadata_bytes);
  agree_on(ranks, [&] {
    demand_file_size(folder_, needed_bytes);
    if (ranks.rank() != 0) return;
    const auto existing = record_if_valid(final);
    already_there = existing && existing->tensors_digest() == record.tensors_digest() &&
                    existing->metadata_digest == record.metadata_digest;
    if (already_there) return;
    make_folder(folder_);
    remove_folder(partial);
    demand_free_space(folder_, needed_bytes);
    make_folder(partial);
  });
  if (ranks.any(already_there)) return;
  try {
    write_checkpoint_file(ranks, partial / kStateFile, plan, tensors, metadata);
    agree_on(ranks, [&] {
      if (ranks.rank() != 0) return;
      record.file_bytes = static_cast<std::int64_t>(fs::file_size(partial / kStateFile));
      write_new_file(partial / kCommitFile, record.to_json(), ErrorKind::Checkpoint);
      commit_folder(partial, final);
    });
  } catch (const AgreedError&) {
    std::error_code ignored;
    if (ranks.rank() == 0) fs::remove_all(partial, ignored);
    throw;
  } catch (const Error&) {  // an error of this rank alone, which will end all ranks
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw;
  }
}

std::optional<std::int64_t> CheckpointStore::newest_valid(const Communicator& ranks, bool fall_back) const {
  const TraceScope trace("checkpoint_store.newest_valid");
  std::string mine;
  agree_on(ranks, [&] {
    if (ranks.rank() != 0) return;
    for (std::int64_t step : steps()) mine += std::to_string(step) + ' ';
  });
  const std::string listed = ranks.broadcast(mine);
  std::vector<std::int64_t> candidates;
  for (std::size_t at = 0; at < listed.size(); at = listed.find(' ', at) + 1) {
    candidates.push_back(std::stoll(listed.substr(at)));
  }
  bool any_refused = false;
  for (auto step = candidates.rbegin(); step != candidates.rend(); ++step) {
    try {
      CheckpointReader::open(ranks, step_folder(*step)).verify(ranks);
      return *step;
    } catch (const Error& problem) {
      if (problem.kind() != ErrorKind::Checkpoint || !fall_back) throw;
      if (ranks.rank() == 0)
        log::error("checkpoint of step {} is not valid and is passed over: {}", *step, problem.what());
    }
    any_refused = true;
  }
  if (any_refused) {
    agree(ranks, CheckpointError("there are checkpoints, but none of them is valid", folder_.string(),
                                 "Move the folder away to start from the beginning, or bring a copy back."));
  }
  return std::nullopt;
}

void CheckpointStore::prune(const Communicator& ranks, int keep) const {
  ensure(keep >= 1, "at least one checkpoint is kept");
  std::int64_t newest = -1;
  std::vector<std::int64_t> committed;
  agree_on(ranks, [&] {
    if (ranks.rank() != 0) return;
    for (std::int64_t step : steps()) {
      if (record_if_valid(step_folder(step))) committed.push_back(step);
    }
    if (committed.size() > static_cast<std::size_t>(keep)) newest = committed.back();
  });
  newest = ranks.max(newest);
  if (newest < 0) return;
  CheckpointReader::open(ranks, step_folder(newest)).verify(ranks);
  agree_on(ranks, [&] {
    if (ranks.rank() != 0) return;
    committed.resize(committed.size() - static_cast<std::size_t>(keep));
    for (std::int64_t step : committed) {
      // Rename first: a partly removed folder must not look like a checkpoint that lost files.
      const fs::path old = step_folder(step), leftover = old.string() + std::string(kPartialSuffix);
      remove_folder(leftover);
      if (std::rename(old.c_str(), leftover.c_str()) != 0) throw_errno(ErrorKind::Checkpoint, "rename", old, errno);
      remove_folder(leftover);
    }
    sync_folder(folder_, ErrorKind::Checkpoint);
  });
}

void CheckpointStore::remove_leftovers(const Communicator& ranks) const {
  agree_on(ranks, [&] {
    if (ranks.rank() != 0) return;
    std::error_code ignored;
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(kPartialSuffix) && step_of(name.substr(0, name.size() - kPartialSuffix.size()))) {
        leftovers.push_back(entry.path());
      }
    }
    for (const fs::path& leftover : leftovers) {
      log::info("{}: an unfinished save is removed", leftover.string());
      remove_folder(leftover);
    }
  });
}

}  // namespace rondo
