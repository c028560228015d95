// SPDX-License-Identifier: Apache-2.0
#include "infer/token_loss_file.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "io/hdf5_file.hpp"

namespace rondo {

namespace {

// Positions of a sequence whose values travel to rank 0 at once.
constexpr std::int64_t kPieceTokens = 16 * 1024;

constexpr const char* kFormat = "rondo token losses";
constexpr std::int64_t kLossesVersion = 1;

void fill_with_nan(Hdf5Dataset& dataset) {
  const std::vector<double> nans(kPieceTokens, std::numeric_limits<double>::quiet_NaN());
  for (std::int64_t first = 0; first < dataset.num_rows(); first += kPieceTokens) {
    const std::int64_t count = std::min(kPieceTokens, dataset.num_rows() - first);
    dataset.write<double>({first, count}, std::span(nans).first(static_cast<std::size_t>(count)));
  }
}

}  // namespace

struct TokenLossFile::File {
  Hdf5File hdf5;
  Hdf5Dataset log_probability;
};

OutputKind TokenLossFile::kind() { return hdf5_kind("a file of token losses", kFormat); }

TokenLossFile::TokenLossFile(const Communicator& world, std::optional<OutputFile> output, const EvaluationData& data,
                             DType dtype)
    : world_(world),
      output_(std::move(output)),
      sequence_length_(std::min(data.sequence_length, data.corpus.num_tokens(data.split))) {
  agree_on(world, [&] {
    if (world.rank() == 0) begin(data, dtype);
  });
}

TokenLossFile::~TokenLossFile() = default;

void TokenLossFile::begin(const EvaluationData& data, DType dtype) {
  const auto offsets = data.corpus.document_offsets(data.split);
  const auto num_offsets = static_cast<std::int64_t>(offsets.size());
  Hdf5File hdf5 = Hdf5File::create(output_->begin());
  hdf5.write_attribute("/", "format", std::string(kFormat));
  hdf5.write_attribute("/", "format_version", kLossesVersion);
  hdf5.write_attribute("/", "split", std::string(name_of(data.split)));
  hdf5.write_attribute("/", "tokens_digest", data.corpus.tokens_digest(data.split));
  hdf5.write_attribute("/", "sequence_length", data.sequence_length);
  Hdf5Dataset documents = hdf5.create_dataset("document_offsets", Hdf5Type::Int64, {num_offsets},
                                              {.chunk_rows = std::min(num_offsets, kPieceTokens)});
  documents.write<std::int64_t>({0, num_offsets}, offsets);
  documents.close();
  Hdf5Dataset values = hdf5.create_dataset("log_probability", dtype == DType::Fp64 ? Hdf5Type::Fp64 : Hdf5Type::Fp32,
                                           {data.corpus.num_tokens(data.split)}, {.chunk_rows = kPieceTokens});
  fill_with_nan(values);
  file_ = std::make_unique<File>(File{std::move(hdf5), std::move(values)});
}

void TokenLossFile::write(const TokenLosses& losses) {
  for (std::int64_t first = 0; first < sequence_length_; first += kPieceTokens) {
    collect(losses, {first, first + kPieceTokens});
    const std::string_view mine(reinterpret_cast<const char*>(entries_.data()), entries_.size() * sizeof(Entry));
    std::vector<Entry> all;
    for (const std::string& bytes : world_.all_gather(mine)) {
      if (world_.rank() != 0 || bytes.empty()) continue;
      const std::size_t before = all.size();
      all.resize(before + bytes.size() / sizeof(Entry));
      std::memcpy(all.data() + before, bytes.data(), bytes.size());
    }
    if (world_.rank() == 0) write_sorted(all);
  }
}

// What this rank knows of the positions, in entries_.
void TokenLossFile::collect(const TokenLosses& losses, KeyInterval positions) {
  entries_.clear();
  for (const TokenRun& run : losses.runs) {
    const KeyInterval inside = clip_to_run(positions, run);
    for (std::int64_t i = inside.begin; i < inside.end; ++i) {
      const auto local = static_cast<std::size_t>(run.local_first + i);
      if (losses.targets[local] == kNoTarget) continue;
      // the loss of a token is that of predicting the next one
      entries_.push_back({losses.sequence_first + run.global_of(i) + 1, -losses.losses[local]});
    }
  }
}

void TokenLossFile::write_sorted(std::vector<Entry>& entries) {
  std::ranges::sort(entries, {}, &Entry::token);
  for (std::size_t i = 0; i < entries.size();) {
    const std::int64_t first = entries[i].token;
    values_.clear();
    for (; i < entries.size() && entries[i].token == first + static_cast<std::int64_t>(values_.size()); ++i) {
      values_.push_back(entries[i].log_probability);
    }
    file_->log_probability.write<double>({first, static_cast<std::int64_t>(values_.size())}, values_);
  }
}

void TokenLossFile::commit() {
  agree_on(world_, [&] {
    if (world_.rank() != 0) return;
    file_->log_probability.close();
    file_->hdf5.close();
    file_.reset();
    output_->commit();
  });
}

}  // namespace rondo
