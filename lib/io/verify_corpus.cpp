// SPDX-License-Identifier: Apache-2.0
// `rondo corpus verify`: compares every byte of a corpus with the digests that were recorded at commit.
#include <algorithm>

#include "core/error.hpp"
#include "io/digest.hpp"
#include "io/token_corpus.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kBytesPerRead = std::int64_t{1} << 20;

std::string digest_of_dataset(const Hdf5Dataset& dataset) {
  StreamingDigest digest;
  const auto element_bytes = static_cast<std::int64_t>(size_of(dataset.type()));
  std::vector<std::byte> block(static_cast<std::size_t>(kBytesPerRead));
  for (std::int64_t first = 0; first < dataset.num_rows();) {
    const RowRange rows{first, std::min(kBytesPerRead / element_bytes, dataset.num_rows() - first)};
    dataset.read_rows(std::span(&rows, 1), block.data(), rows.count, dataset.type());
    digest.update(std::span(block).first(static_cast<std::size_t>(rows.count * element_bytes)));
    first += rows.count;
  }
  return digest.hex();
}

}  // namespace

std::int64_t verify_corpus(const std::string& path) {
  const TokenCorpus corpus(path);  // checks the structure
  const Hdf5File file = Hdf5File::open(path);
  std::int64_t num_bytes = 0;
  std::string damaged, reason;
  for (Split split : {Split::Train, Split::Validation}) {
    for (const char* name : {"tokens", "documents", "names", "name_offsets", "target_ranges"}) {
      const std::string full_name = dataset_name(split, name);
      const bool is_targets = std::string_view(name) == "target_ranges";
      if (is_targets && !corpus.records_targets(split)) continue;
      try {
        const Hdf5Dataset dataset = file.open_dataset(full_name);
        num_bytes += dataset.num_rows() * static_cast<std::int64_t>(size_of(dataset.type()));
        const std::string digest = std::string(name) + "_digest";
        // Ranges that another program added need no digest. TokenCorpus has checked that they ascend within the split.
        if (is_targets && !file.has_attribute(std::string(name_of(split)), digest)) continue;
        const auto recorded = file.read_text_attribute(std::string(name_of(split)), digest);
        if (const std::string found = digest_of_dataset(dataset); found != recorded) {
          throw DataError("its digest is " + found + ", recorded is " + recorded);
        }
      } catch (const DataError& error) {
        damaged += (damaged.empty() ? "" : ", ") + full_name;
        if (reason.empty()) reason = error.message();
      }
    }
    std::vector<std::int32_t> tokens(std::size_t{1} << 16);  // reading checks the ids
    for (std::int64_t first = 0; damaged.empty() && first < corpus.num_tokens(split);) {
      const auto count = std::min(static_cast<std::int64_t>(tokens.size()), corpus.num_tokens(split) - first);
      corpus.read_tokens(split, first, std::span(tokens).first(static_cast<std::size_t>(count)));
      first += count;
    }
  }
  if (!damaged.empty()) {
    throw DataError("the corpus is damaged in " + damaged + ": " + reason, path, "prepare it again: rondo prepare");
  }
  return num_bytes;
}

}  // namespace rondo
