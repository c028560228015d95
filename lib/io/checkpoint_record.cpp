// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_record.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

namespace rondo {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kChunkBytes = 1 << 20;
constexpr std::string_view kRecordFormat = "rondo-checkpoint";
constexpr int kRecordVersion = 1;

std::optional<DType> dtype_from(std::string_view name) {
  for (DType dtype : {DType::Fp64, DType::Fp32, DType::Int32, DType::Int64}) {
    if (name_of(dtype) == name) return dtype;
  }
  return std::nullopt;
}

/// Throws nlohmann's exception, or this one, for a record that is well-formed JSON but makes no sense.
struct BadRecord : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void demand(bool fact, const std::string& rule) {
  if (!fact) throw BadRecord(rule);
}

Digest digest_from(const Json& value) {
  const auto digest = Digest::from_hex(value.get_ref<const std::string&>());
  demand(digest.has_value(), "a digest is not 32 hexadecimal digits");
  return *digest;
}

Shape shape_from(const Json& dims, std::size_t element_bytes) {
  demand(dims.is_array() && !dims.empty() && dims.size() <= Shape::kMaxRank, "a shape does not have 1 to 4 dimensions");
  std::int64_t room = std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(element_bytes) / 2;
  Shape shape = dims.size() == 1   ? Shape{1}
                : dims.size() == 2 ? Shape{1, 1}
                : dims.size() == 3 ? Shape{1, 1, 1}
                                   : Shape{1, 1, 1, 1};
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    const auto extent = dims[axis].get<std::int64_t>();
    demand(extent >= 1 && extent <= room, "a shape is empty or too large");
    room /= extent;
    shape.set(static_cast<int>(axis), extent);
  }
  return shape;
}

CheckpointDataset dataset_from(const Json& entry) {
  CheckpointDataset dataset;
  dataset.name = entry.at("name").get<std::string>();
  demand(is_tensor_name(dataset.name), "a dataset's name is not allowed");
  const auto dtype = dtype_from(entry.at("dtype").get_ref<const std::string&>());
  demand(dtype.has_value(), "a dataset's type is unknown");
  dataset.dtype = *dtype;
  dataset.shape = shape_from(entry.at("shape"), size_of(*dtype));
  demand(entry.at("bytes").get<std::int64_t>() == dataset.num_bytes(), "a dataset's size does not fit its shape");
  for (const Json& chunk : entry.at("chunks")) dataset.chunks.push_back(digest_from(chunk));
  demand(static_cast<std::int64_t>(dataset.chunks.size()) == dataset.num_chunks(),
         "a dataset's chunks are not all listed");
  demand(dataset.digest() == digest_from(entry.at("digest")), "a dataset's digest does not fit its chunks");
  return dataset;
}

CheckpointRecord record_from(Json json) {
  demand(json.at("format").get<std::string>() == kRecordFormat, "this is not a checkpoint's record");
  const auto version = json.at("version").get<std::int64_t>();
  demand(version == kRecordVersion, "the record has format version " + std::to_string(version) +
                                        ", this program reads " + std::to_string(kRecordVersion));
  const Digest stated = digest_from(json.at("record_digest"));
  json.erase("record_digest");
  demand(stated == digest_of(json.dump()), "the record does not fit its own digest");

  CheckpointRecord record;
  record.step = json.at("step").get<std::int64_t>();
  demand(record.step >= 0, "the step is negative");
  demand(json.at("file").at("name").get<std::string>() == kStateFile,
         std::string("the file has another name than ") + kStateFile);
  record.file_bytes = json.at("file").at("bytes").get<std::int64_t>();
  record.metadata_bytes = json.at("metadata").at("bytes").get<std::int64_t>();
  record.metadata_digest = digest_from(json.at("metadata").at("digest"));
  std::set<std::string> names;
  for (const Json& entry : json.at("datasets")) {
    record.datasets.push_back(dataset_from(entry));
    demand(names.insert(record.datasets.back().name).second, "a dataset is listed twice");
  }
  demand(record.tensors_digest() == digest_from(json.at("tensors_digest")), "the tensors' digest does not fit them");
  return record;
}

}  // namespace

std::int64_t checkpoint_chunk_rows(const Shape& shape, DType dtype) {
  const std::int64_t row_bytes = shape.row_count() * static_cast<std::int64_t>(size_of(dtype));
  return std::clamp<std::int64_t>(kChunkBytes / std::max<std::int64_t>(row_bytes, 1), 1,
                                  std::max<std::int64_t>(shape[0], 1));
}

bool is_tensor_name(std::string_view name) {
  if (name.empty() || name.size() > 512 || name.front() == '/' || name.back() == '/' || name == "metadata")
    return false;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == '/';
  };
  if (!std::all_of(name.begin(), name.end(), allowed)) return false;
  for (std::size_t first = 0; first <= name.size();) {
    const std::size_t end = std::min(name.find('/', first), name.size());
    const std::string_view part = name.substr(first, end - first);
    if (part.empty() || part == "." || part == "..") return false;
    first = end + 1;
  }
  return true;
}

const CheckpointDataset* CheckpointRecord::find(std::string_view name) const {
  const auto found =
      std::find_if(datasets.begin(), datasets.end(), [&](const auto& entry) { return entry.name == name; });
  return found == datasets.end() ? nullptr : &*found;
}

Digest CheckpointRecord::tensors_digest() const {
  StreamingDigest whole;
  for (const CheckpointDataset& dataset : datasets) {
    whole.update(dataset.name + ' ' + std::string(name_of(dataset.dtype)) + ' ' + to_string(dataset.shape) + ' ' +
                 dataset.digest().hex() + '\n');
  }
  return whole.value();
}

std::int64_t CheckpointRecord::tensor_bytes() const {
  std::int64_t total = 0;
  for (const CheckpointDataset& dataset : datasets) total += dataset.num_bytes();
  return total;
}

std::string CheckpointRecord::to_json() const {
  Json json;
  json["format"] = kRecordFormat;
  json["version"] = kRecordVersion;
  json["step"] = step;
  json["file"] = {{"name", kStateFile}, {"bytes", file_bytes}};
  json["metadata"] = {{"bytes", metadata_bytes}, {"digest", metadata_digest.hex()}};
  json["tensors_digest"] = tensors_digest().hex();
  json["datasets"] = Json::array();
  for (const CheckpointDataset& dataset : datasets) {
    Json shape = Json::array(), chunks = Json::array();
    for (int axis = 0; axis < dataset.shape.rank(); ++axis) shape.push_back(dataset.shape[axis]);
    for (const Digest& chunk : dataset.chunks) chunks.push_back(chunk.hex());
    json["datasets"].push_back({{"name", dataset.name},
                                {"dtype", name_of(dataset.dtype)},
                                {"shape", shape},
                                {"bytes", dataset.num_bytes()},
                                {"chunks", chunks},
                                {"digest", dataset.digest().hex()}});
  }
  json["record_digest"] = digest_of(json.dump()).hex();
  return json.dump(1) + "\n";
}

CheckpointRecord CheckpointRecord::from_json(const std::string& text, const std::string& where) {
  try {
    return record_from(Json::parse(text));
  } catch (const BadRecord& problem) {
    throw CheckpointError(std::string("the commit record is not valid: ") + problem.what(), where);
  } catch (const Json::exception& problem) {
    throw CheckpointError(std::string("the commit record cannot be read: ") + problem.what(), where);
  }
}

}  // namespace rondo
