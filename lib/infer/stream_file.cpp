// SPDX-License-Identifier: Apache-2.0
#include "infer/stream_file.hpp"

#include <vector>

#include "io/hdf5_file.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "rondo-stream";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

Hdf5Type stored_type(DType dtype) {
  switch (dtype) {
    case DType::Fp64: return Hdf5Type::Fp64;
    case DType::Fp32: return Hdf5Type::Fp32;
    case DType::Bf16: return Hdf5Type::UInt16;  // its bits
    case DType::Int32: return Hdf5Type::Int32;
    case DType::Int64: return Hdf5Type::Int64;
  }
  ensure(false, "a type of elements");
  return Hdf5Type::UInt8;
}

std::vector<std::int64_t> extents_of(const Shape& shape) {
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

std::string group_of(std::size_t layer) { return "layers/" + std::to_string(layer); }

void write_values(Hdf5File& file, const std::string& name, const TensorView& values, const Execution& execution) {
  std::vector<std::byte> host(values.size_bytes());
  execution.device.copy(execution.compute, host.data(), values.data, host.size());
  execution.device.synchronize(execution.compute);
  const Hdf5Type type = stored_type(values.dtype);
  Hdf5Dataset dataset = file.create_dataset(name, type, extents_of(values.shape), {.chunk_rows = values.shape[0]});
  const RowRange rows{0, values.shape[0]};
  dataset.write_rows({&rows, 1}, host.data(), values.count(), type);
  dataset.close();
}

void read_values(const Hdf5File& file, const std::string& name, const TensorView& values, const Execution& execution) {
  const Hdf5Dataset dataset = file.open_dataset(name);
  const Hdf5Type type = stored_type(values.dtype);
  if (dataset.type() != type || dataset.extents() != extents_of(values.shape)) {
    throw DataError("the tensor has another type or shape than the model's state", dataset.where(),
                    "the file belongs to a model of another shape or precision");
  }
  std::vector<std::byte> host(values.size_bytes());
  const RowRange rows{0, values.shape[0]};
  dataset.read_rows({&rows, 1}, host.data(), values.count(), type);
  execution.device.copy(execution.compute, values.data, host.data(), host.size());
  execution.device.synchronize(execution.compute);
}

Hdf5File open_checked(const fs::path& path) {
  Hdf5File file = Hdf5File::open(path, {.advice = "give a file that `rondo generate --state-out` wrote"});
  if (!file.has_attribute("/", "format") || file.read_text_attribute("/", "format") != kFormat) {
    throw DataError("this is not the state of a text", path.string(),
                    "give a file that `rondo generate --state-out` wrote");
  }
  const std::int64_t version = file.read_integer_attribute("/", "format_version");
  if (version != kVersion) {
    throw DataError("the state has format version " + std::to_string(version) + ", but this program reads " +
                        std::to_string(kVersion),
                    path.string(), "make it again with this version");
  }
  return file;
}

StreamFile::Record record_of(const Hdf5File& file, const std::string& model_digest) {
  const StreamFile::Record record{file.read_text_attribute("/", "model_digest"),
                                  file.read_integer_attribute("/", "num_tokens"),
                                  file.read_integer_attribute("/", "num_drawn")};
  if (record.model_digest != model_digest) {
    throw DataError("the state was made by another model: weights and settings had digest " + record.model_digest +
                        ", these have " + model_digest,
                    file.path().string(), "give the checkpoint that made it");
  }
  if (record.num_tokens < 1 || record.num_tokens > kMostTokens || record.num_drawn < 0 ||
      record.num_drawn > record.num_tokens) {
    throw DataError("the state is that of " + std::to_string(record.num_tokens) + " tokens, " +
                        std::to_string(record.num_drawn) + " of them drawn, which cannot be",
                    file.path().string(), "the file is damaged");
  }
  return record;
}

}  // namespace

OutputKind StreamFile::kind() { return hdf5_kind("the state of a text", kFormat); }

std::int64_t StreamFile::num_bytes(const SequenceStream& stream) {
  constexpr std::int64_t kPerFile = 1 << 16, kPerLayer = 1 << 16;  // headers, checksums, chunk indices
  const auto num_layers = static_cast<std::int64_t>(stream.state_.num_layers());
  return stream.state_bytes() + static_cast<std::int64_t>(stream.logits_.size_bytes()) + kPerFile +
         num_layers * kPerLayer;
}

void StreamFile::write(OutputFile& output, const SequenceStream& stream, const std::string& model_digest,
                       std::int64_t num_drawn) {
  Hdf5File file = Hdf5File::create(output.begin());
  file.write_attribute("/", "format", std::string(kFormat));
  file.write_attribute("/", "format_version", kVersion);
  file.write_attribute("/", "model_digest", model_digest);
  file.write_attribute("/", "num_tokens", stream.num_tokens());
  file.write_attribute("/", "num_drawn", num_drawn);
  for (std::size_t layer = 0; layer < stream.state_.num_layers(); ++layer) {
    const LayerState& state = *stream.state_.of(layer);
    for (const StatePart& part : state.parts()) {
      if (part.values.count() == 0) continue;  // the window holds no keys
      write_values(file, group_of(layer) + "/" + part.name, part.values, stream.execution_);
    }
    file.write_attribute(group_of(layer), "first_in_sight", state.key_range().begin);
    file.write_attribute(group_of(layer), "end_of_sight", state.key_range().end);
  }
  write_values(file, "logits", stream.logits_.view(), stream.execution_);
  file.close();
  output.commit();
}

StreamFile::Record StreamFile::read(const fs::path& path, const std::string& model_digest, SequenceStream& stream) {
  stream.reset();
  const Hdf5File file = open_checked(path);
  const Record record = record_of(file, model_digest);
  try {
    for (std::size_t layer = 0; layer < stream.state_.num_layers(); ++layer) {
      LayerState& state = *stream.state_.of(layer);
      const KeyInterval key_range{file.read_integer_attribute(group_of(layer), "first_in_sight"),
                                  file.read_integer_attribute(group_of(layer), "end_of_sight")};
      if (key_range.begin < 0 || key_range.end < key_range.begin ||
          key_range.end - key_range.begin > state.capacity_tokens()) {
        throw DataError("layer " + std::to_string(layer) + " has " + std::to_string(key_range.end - key_range.begin) +
                            " tokens in the window, but the model's state holds at most " +
                            std::to_string(state.capacity_tokens()),
                        path.string(), "the file belongs to a model of other segments, or is damaged");
      }
      state.set_key_range(key_range);
      for (const StatePart& part : state.parts()) {
        if (part.values.count() == 0) continue;
        read_values(file, group_of(layer) + "/" + part.name, part.values, stream.execution_);
      }
    }
    read_values(file, "logits", stream.logits_.view(), stream.execution_);
  } catch (...) {
    stream.reset();
    throw;
  }
  stream.num_tokens_ = record.num_tokens;
  return record;
}

StreamFile::Record StreamFile::read_record(const fs::path& path, const std::string& model_digest) {
  return record_of(open_checked(path), model_digest);
}

}  // namespace rondo
