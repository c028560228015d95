// SPDX-License-Identifier: Apache-2.0
// A small training state with known values, and a folder that goes away with the test.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string>
#include <vector>

#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_store.hpp"

namespace rondo::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "rondo-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Tensors of several types and shapes whose values depend on `seed`, the tensor and the position alone.
class SampleState {
 public:
  struct Entry {
    std::string name;
    DType dtype;
    Shape shape;
  };

  static std::vector<Entry> small() {
    return {{"parameters/layers.0.weight", DType::Fp32, Shape{7, 5}},
            {"parameters/layers.1.weight", DType::Fp32, Shape{7, 5}},
            {"optimizer/first/layers.0.weight", DType::Fp64, Shape{3, 2, 4}},
            {"optimizer/count", DType::Int64, Shape{1}}};
  }
  /// Several chunks a tensor, the last one cut.
  static std::vector<Entry> large() {
    return {{"wide", DType::Fp32, Shape{2500, 1001}},
            {"flat", DType::Fp64, Shape{300'007}},
            {"tiny", DType::Fp32, Shape{3}}};
  }

  SampleState(const std::vector<Entry>& entries, std::uint64_t seed) : entries_(entries) {
    for (const Entry& entry : entries) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(entry.shape.count()) * size_of(entry.dtype));
      for (std::size_t at = 0; at < bytes.size(); ++at) {
        bytes[at] = static_cast<std::byte>(
            (at * 0x9e3779b97f4a7c15ULL + (seed + 1000 * values_.size()) * 0x632be59bd9b4e019ULL) >> 40);
      }
      values_.push_back(std::move(bytes));
    }
  }

  /// All rows of every tensor, as a rank with a replicated state holds them.
  std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> all;
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      const Entry& entry = entries_[index];
      all.push_back({entry.name, entry.shape, entry.dtype, 0, {values_[index].data(), entry.dtype, entry.shape}});
    }
    return all;
  }
  std::vector<std::vector<std::byte>>& values() { return values_; }

 private:
  std::vector<Entry> entries_;
  std::vector<std::vector<std::byte>> values_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// The message of the Checkpoint error that `action` throws; anything else is a failure.
template <typename Action> std::string refusal_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Checkpoint) << error.what();
    return error.what();
  }
  return "accepted";
}

/// Does the folder hold exactly this state? Throws Checkpoint errors of the reader.
inline bool holds(const Communicator& ranks, const std::filesystem::path& step_folder,
                  const std::vector<SampleState::Entry>& entries, std::uint64_t seed) {
  SampleState expected(entries, seed), found(entries, seed + 1);
  CheckpointReader(step_folder).read(ranks, found.tensors());
  return found.values() == expected.values();
}

}  // namespace rondo::test
