// SPDX-License-Identifier: Apache-2.0
#include "apps/attention_files.hpp"

#include <algorithm>
#include <string>

namespace rondo {

namespace {

constexpr std::int64_t kPieceBytes = 4 << 20;

std::string text_of(const std::vector<std::int64_t>& extents) {
  std::string text = "[";
  for (const std::int64_t extent : extents) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

Hdf5Dataset open_values(const Hdf5File& input, const std::string& name, const std::string& advice) {
  if (!input.has(name)) {
    throw DataError("there is no dataset '" + name + "'", input.path().string(), advice);
  }
  Hdf5Dataset dataset = input.open_dataset(name);
  using enum Hdf5Type;
  if (dataset.type() != Fp64 && dataset.type() != Fp32 && dataset.type() != Fp16) {
    throw DataError("its element type is " + std::string(name_of(dataset.type())), dataset.where(),
                    "store it as float16, float32 or float64");
  }
  return dataset;
}

void expect_extents(const Hdf5Dataset& dataset, const std::vector<std::int64_t>& expected, const char* meaning) {
  if (dataset.extents() == expected) return;
  throw DataError("its shape is " + text_of(dataset.extents()) + ", but " + meaning + " is " + text_of(expected),
                  dataset.where());
}

std::vector<std::int64_t> read_offsets(const Hdf5File& input, std::int64_t tokens) {
  if (!input.has("document_offsets")) {
    throw DataError("there is no dataset 'document_offsets'", input.path().string(),
                    "add it, or leave --documents out");
  }
  const Hdf5Dataset dataset = input.open_dataset("document_offsets");
  if (dataset.extents().size() != 1 || dataset.type() != Hdf5Type::Int64) {
    throw DataError("it must be one row of int64", dataset.where());
  }
  const auto offsets = dataset.read_all<std::int64_t>();
  if (offsets.size() < 2 || offsets.front() != 0 || offsets.back() != tokens) {
    throw DataError("the first offset must be 0 and the last one S = " + std::to_string(tokens), dataset.where());
  }
  const auto descent = std::ranges::is_sorted_until(offsets);
  if (descent != offsets.end()) {
    throw DataError("offsets must ascend, but offset " + std::to_string(descent - offsets.begin()) + " is " +
                        std::to_string(*descent) + " after " + std::to_string(*(descent - 1)),
                    dataset.where());
  }
  return offsets;
}

}  // namespace

AttentionProblem read_problem(const Hdf5File& input, const AttentionNeeds& needs) {
  const std::string advice = "the input holds q [B,S,N,D], k [B,S,G,D] and v [B,S,G,D]";
  const Hdf5Dataset q = open_values(input, "q", advice), k = open_values(input, "k", advice),
                    v = open_values(input, "v", advice);
  if (q.extents().size() != 4 || k.extents().size() != 4) {
    const Hdf5Dataset& wrong = q.extents().size() != 4 ? q : k;
    throw DataError("its shape is " + text_of(wrong.extents()) + ", which is not of four dimensions", wrong.where(),
                    advice);
  }
  AttentionProblem problem{q.extents()[0], q.extents()[1], q.extents()[2], k.extents()[2], q.extents()[3], {}};
  const auto& [B, S, N, G, D, offsets] = problem;
  if (std::min({B, S, N, G, D}) < 1) throw DataError("a dimension of q or k is empty", input.path().string());
  expect_extents(k, {B, S, G, D}, "the [B,S,G,D] that fits q");
  expect_extents(v, {B, S, G, D}, "the shape of k");
  if (N % G != 0) {
    throw DataError(
        "the " + std::to_string(N) + " heads of q are not a multiple of the " + std::to_string(G) + " heads of k",
        input.path().string());
  }
  if (S < needs.ranks) {
    throw ConfigError(std::to_string(S) + " tokens cannot be spread over " + std::to_string(needs.ranks) + " ranks",
                      input.path().string(), "start at most " + std::to_string(S) + " ranks");
  }
  if (needs.d_out) {
    expect_extents(open_values(input, "d_out", "add it, or leave --backward out"), q.extents(), "the shape of q");
  }
  if (needs.documents) problem.document_offsets = read_offsets(input, S);
  return problem;
}

// At least one token; equal on all ranks, since they write each piece collectively.
std::int64_t ShardIo::piece_tokens(const TensorView& rows) const {
  return std::max<std::int64_t>(1, kPieceBytes / (rows.shape.row_count() * static_cast<std::int64_t>(sizeof(double))));
}

// The part of the shard's runs that holds local tokens [first, first + count).
std::vector<TokenRun> ShardIo::runs_between(std::int64_t first, std::int64_t count) const {
  std::vector<TokenRun> parts;
  for (const TokenRun& run : runs_) {
    const std::int64_t begin = std::max(first, run.local_first) - run.local_first;
    const std::int64_t end = std::min(first + count, run.local_first + run.count) - run.local_first;
    if (begin < end) parts.push_back({run.global_of(begin), run.stride, end - begin, run.local_first + begin});
  }
  return parts;
}

void ShardIo::read_tokens(const Hdf5Dataset& dataset, std::int64_t batch, const TensorView& to) {
  auto& [device, backend, stream, scratch, ring] = execution_;
  const bool wide = dataset.type() == Hdf5Type::Fp64;
  const std::int64_t heads = to.shape[1], dim = to.shape[2], piece = piece_tokens(to);
  for (std::int64_t first = 0; first < runs_.num_tokens(); first += piece) {
    const TensorView rows = to.rows(first, std::min(piece, runs_.num_tokens() - first));
    std::vector<Hdf5Box> boxes;
    for (const TokenRun& run : runs_between(first, rows.shape[0])) {
      boxes.push_back({{batch, run.global_first, 0, 0}, {1, run.stride, 1, 1}, {1, run.count, heads, dim}});
    }
    Arena::Scope scope(scratch);
    const TensorView staged = scratch.take(wide ? DType::Fp64 : DType::Fp32, rows.shape);
    host_.resize(staged.size_bytes());
    dataset.read_boxes(boxes, host_.data(), staged.count(), wide ? Hdf5Type::Fp64 : Hdf5Type::Fp32);
    device.copy(stream, staged.data, host_.data(), staged.size_bytes());
    backend.convert(stream, {staged, rows});
    device.synchronize(stream);  // the host buffer is reused
  }
}

void ShardIo::write_piece(Hdf5Dataset& dataset, const std::vector<Hdf5Box>& boxes, const TensorView& from) {
  host_.resize(from.size_bytes());
  execution_.device.copy(execution_.compute, host_.data(), from.data, from.size_bytes());
  execution_.device.synchronize(execution_.compute);
  dataset.write_boxes(boxes, host_.data(), from.count(), from.dtype == DType::Fp64 ? Hdf5Type::Fp64 : Hdf5Type::Fp32);
}

void ShardIo::write_tokens(Hdf5Dataset& dataset, std::int64_t batch, const TensorView& from) {
  const std::int64_t heads = from.shape[1], dim = from.shape[2], piece = piece_tokens(from);
  // a rank with a smaller shard joins the last collective write without rows
  for (std::int64_t next = 0; next < layout_.max_tokens(); next += piece) {
    const std::int64_t first = std::min(next, runs_.num_tokens());
    const std::int64_t count = std::min(piece, runs_.num_tokens() - first);
    std::vector<Hdf5Box> boxes;
    for (const TokenRun& run : runs_between(first, count)) {
      boxes.push_back({{batch, run.global_first, 0, 0}, {1, run.stride, 1, 1}, {1, run.count, heads, dim}});
    }
    write_piece(dataset, boxes, from.rows(first, count));
  }
}

void ShardIo::write_heads(Hdf5Dataset& dataset, std::int64_t batch, const TensorView& from) {
  for (std::int64_t head = 0; head < from.shape[0]; ++head) {
    std::vector<Hdf5Box> boxes;
    for (const TokenRun& run : runs_) {
      boxes.push_back({{batch, head, run.global_first}, {1, 1, run.stride}, {1, 1, run.count}});
    }
    write_piece(dataset, boxes, from.rows(head, 1));
  }
}

}  // namespace rondo
